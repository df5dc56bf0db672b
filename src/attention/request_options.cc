#include "attention/request_options.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

std::vector<const AttentionBackend*> Named(std::span<const std::string> names, const AttentionRegistry& registry) {
  std::vector<const AttentionBackend*> named;
  for (const std::string& name : names) {
    if (name == "auto") continue;
    const AttentionBackend* backend = &registry.Find(name);
    if (std::find(named.begin(), named.end(), backend) == named.end()) named.push_back(backend);
  }
  return named;
}

Options KnownTo(const AttentionBackend& backend, const Options& options) {
  Options known;
  for (const auto& [key, value] : options.values()) {
    if (FindOption(backend, key) != nullptr) known.Set(key, value);
  }
  return known;
}

// "option 'topk' is a key of vmoba_attn", or "".
std::string OwnersOf(std::string_view key, const AttentionRegistry& registry) {
  std::vector<std::string> owners;
  for (const AttentionBackend* backend : registry.backends()) {
    // A planner's default kernel is listed as itself.
    const bool own = FindOption(*backend, key) != nullptr &&
                     (backend->kernel == nullptr || FindOption(*backend->kernel, key) == nullptr);
    if (own) owners.emplace_back(backend->name);
  }
  return Join(owners, ", ");
}

[[noreturn]] void RejectUnknown(std::string_view key, std::span<const AttentionBackend* const> named,
                                const AttentionRegistry& registry, std::string_view flag) {
  const std::string owners = OwnersOf(key, registry);
  std::vector<std::string> names, known;
  for (const AttentionBackend* backend : named) {
    names.emplace_back(backend->name);
    for (const OptionSpec* spec : AllOptions(*backend)) known.emplace_back(spec->key);
  }
  std::string why =
      names.empty() ? std::string("given, but no backend is named") : fmt::format("not a key of {}", Join(names, ", "));
  if (!owners.empty()) why += fmt::format("{} of {}", names.empty() ? "; it is a key" : " but", owners);
  if (owners.empty() && !names.empty()) {
    why += known.empty() ? fmt::format(", which has no options") : fmt::format("; known: {}", Join(known, ", "));
  }
  const auto nearest = Nearest(key.substr(key.find('.') == std::string_view::npos ? 0 : key.find('.') + 1), known);
  if (nearest && owners.empty()) why += fmt::format("; did you mean '{}'", *nearest);
  throw Error(ErrorKind::kUsage, fmt::format("{}: option '{}' is {}", flag, Printable(key), why));
}

}  // namespace

Options OptionsFor(const AttentionBackend& backend, const AttentionRequest& request,
                   const AttentionRegistry& registry) {
  const auto named = Named(request.names, registry);
  const bool is_named = std::find(named.begin(), named.end(), &backend) != named.end();
  return ResolveOptions(backend, is_named ? KnownTo(backend, request.options) : Options{});
}

void CheckOptions(const Options& options, std::span<const std::string> names, const AttentionRegistry& registry,
                  std::string_view flag) {
  const auto named = Named(names, registry);
  for (const auto& [key, value] : options.values()) {
    const auto takes = [&key = key](const AttentionBackend* backend) { return FindOption(*backend, key) != nullptr; };
    if (std::none_of(named.begin(), named.end(), takes)) RejectUnknown(key, named, registry, flag);
  }
  for (const AttentionBackend* backend : named) ResolveOptions(*backend, KnownTo(*backend, options));
}

}  // namespace tessera
