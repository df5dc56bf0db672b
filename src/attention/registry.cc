#include "attention/registry.h"

#include <array>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

#define X(name) &k_##name##_backend,
constexpr auto kBackends = std::to_array<const AttentionBackend*>({
#include "attention_backend.inc"
});
#undef X

std::vector<std::string> NamesOf(const AttentionBackend& backend) {
  std::vector<std::string> names = {std::string(backend.name)};
  for (std::string& alias : Split(backend.aliases, ' ')) {
    if (!alias.empty()) names.push_back(std::move(alias));
  }
  return names;
}

[[noreturn]] void RejectName(std::string_view name, std::span<const AttentionBackend* const> backends) {
  std::vector<std::string> known, spellings = {"auto"};
  for (const AttentionBackend* backend : backends) {
    known.emplace_back(backend->name);
    for (std::string& spelling : NamesOf(*backend)) spellings.push_back(std::move(spelling));
  }
  known.emplace_back("auto");
  std::string message = fmt::format("no attention backend named '{}'; known: {}", Printable(name), Join(known, ", "));
  if (name.find('+') != std::string_view::npos) {
    message = fmt::format(
        "attention backend '{}': a planner with another backend's kernel (a+b) is not available in this "
        "build; known: {}",
        Printable(name), Join(known, ", "));
  } else if (const auto nearest = Nearest(name, spellings)) {
    message += fmt::format("; did you mean '{}'", *nearest);
  }
  throw Error(ErrorKind::kUsage, message);
}

}  // namespace

std::span<const AttentionBackend* const> AttentionBackends() noexcept { return kBackends; }

const AttentionBackend& FindAttentionBackend(std::string_view name) {
  return FindAttentionBackend(name, AttentionBackends());
}

const AttentionBackend& FindAttentionBackend(std::string_view name, std::span<const AttentionBackend* const> backends) {
  const std::string wanted = Lower(Trim(name));
  for (const AttentionBackend* backend : backends) {
    for (const std::string& spelling : NamesOf(*backend)) {
      if (spelling == wanted) return *backend;
    }
  }
  RejectName(name, backends);
}

}  // namespace tessera
