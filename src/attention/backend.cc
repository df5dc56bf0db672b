#include "attention/backend.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr std::array<std::string_view, 3> kFidelities = {"exact", "quantized", "sparse"};

bool Spells(const OptionSpec& spec, std::string_view key) {
  if (spec.key == key) return true;
  const auto aliases = Split(spec.aliases, ' ');
  return !key.empty() && std::find(aliases.begin(), aliases.end(), key) != aliases.end();
}

// A composition has the options of its parts; planners come first.
std::vector<const OptionSpec*> AllOptions(const AttentionBackend& backend) {
  std::vector<const OptionSpec*> all;
  for (const OptionSpec& spec : backend.options) all.push_back(&spec);
  if (backend.kernel == nullptr) return all;
  for (const OptionSpec& spec : backend.kernel->options) all.push_back(&spec);
  return all;
}

[[noreturn]] void RejectOption(const AttentionBackend& backend, std::string_view key, std::string_view why) {
  throw Error(ErrorKind::kUsage,
              fmt::format("option '{}' of attention backend '{}': {}", Printable(key), backend.name, why));
}

[[noreturn]] void RejectKey(const AttentionBackend& backend, std::string_view key) {
  std::vector<std::string> known;
  for (const OptionSpec* spec : AllOptions(backend)) known.emplace_back(spec->key);
  if (known.empty()) RejectOption(backend, key, "this backend has no options");
  const auto nearest = Nearest(key, known);
  RejectOption(backend, key,
               fmt::format("not known; known: {}{}", Join(known, ", "),
                           nearest ? fmt::format("; did you mean '{}'", *nearest) : ""));
}

std::string_view TypeName(const OptionValue& value) {
  constexpr std::array<std::string_view, 5> kNames = {"true or false", "a whole number", "a number", "a word",
                                                      "a list of numbers"};
  return kNames[value.index()];
}

void CheckRange(const AttentionBackend& backend, const OptionSpec& spec, double number) {
  if ((spec.least && !(number >= *spec.least)) || (spec.most && !(number <= *spec.most))) {
    RejectOption(
        backend, spec.key,
        fmt::format("{} is out of range, wanted {} to {}", number, spec.least ? fmt::format("{}", *spec.least) : "any",
                    spec.most ? fmt::format("{}", *spec.most) : "any"));
  }
}

void CheckChoice(const AttentionBackend& backend, const OptionSpec& spec, const std::string& word) {
  if (spec.choices.empty()) return;
  const auto choices = Split(spec.choices, '|');
  if (std::find(choices.begin(), choices.end(), word) == choices.end()) {
    RejectOption(backend, spec.key, fmt::format("'{}' is not one of {}", Printable(word), Join(choices, ", ")));
  }
}

OptionValue CheckedValue(const AttentionBackend& backend, const OptionSpec& spec, OptionValue value) {
  const OptionValue model = DefaultOf(spec);
  if (std::holds_alternative<double>(model) && std::holds_alternative<int64_t>(value)) {
    value = static_cast<double>(std::get<int64_t>(value));
  }
  if (value.index() != model.index()) {
    RejectOption(backend, spec.key, fmt::format("wanted {}, got {}", TypeName(model), TypeName(value)));
  }
  if (const auto* whole = std::get_if<int64_t>(&value)) CheckRange(backend, spec, static_cast<double>(*whole));
  if (const auto* number = std::get_if<double>(&value)) CheckRange(backend, spec, *number);
  if (const auto* word = std::get_if<std::string>(&value)) CheckChoice(backend, spec, *word);
  if (const auto* list = std::get_if<std::vector<double>>(&value)) {
    for (const double number : *list) CheckRange(backend, spec, number);
  }
  return value;
}

}  // namespace

std::string_view Name(Fidelity fidelity) noexcept { return kFidelities[static_cast<size_t>(fidelity)]; }

OptionValue DefaultOf(const OptionSpec& spec) {
  return spec.made_default != nullptr ? *spec.made_default : spec.default_value();
}

void Options::Set(std::string key, OptionValue value) {
  const auto at = std::lower_bound(values_.begin(), values_.end(), key,
                                   [](const auto& entry, const std::string& wanted) { return entry.first < wanted; });
  if (at != values_.end() && at->first == key) {
    at->second = std::move(value);
  } else {
    values_.emplace(at, std::move(key), std::move(value));
  }
}

const OptionValue* Options::Find(std::string_view key) const noexcept {
  for (const auto& [name, value] : values_) {
    if (name == key) return &value;
  }
  return nullptr;
}

const OptionSpec* FindOption(const AttentionBackend& backend, std::string_view key) {
  const auto all = AllOptions(backend);
  const auto spelled = [&](std::string_view spelling) -> const OptionSpec* {
    const auto at =
        std::find_if(all.begin(), all.end(), [&](const OptionSpec* spec) { return Spells(*spec, spelling); });
    return at == all.end() ? nullptr : *at;
  };
  if (const OptionSpec* spec = spelled(key)) return spec;
  const std::string_view prefix = backend.option_prefix;
  if (!prefix.empty() && key.starts_with(prefix)) return spelled(key.substr(prefix.size()));
  return nullptr;
}

Options ResolveOptions(const AttentionBackend& backend, const Options& given) {
  Options resolved;
  std::vector<const OptionSpec*> seen;
  for (const OptionSpec* spec : AllOptions(backend)) resolved.Set(std::string(spec->key), DefaultOf(*spec));
  for (const auto& [key, value] : given.values()) {
    const OptionSpec* spec = FindOption(backend, key);
    if (spec == nullptr) RejectKey(backend, key);
    if (std::find(seen.begin(), seen.end(), spec) != seen.end()) {
      RejectOption(backend, key, fmt::format("given twice, as another spelling of '{}'", spec->key));
    }
    seen.push_back(spec);
    resolved.Set(std::string(spec->key), CheckedValue(backend, *spec, value));
  }
  return resolved;
}

bool IsInThisBuild(const AttentionBackend& backend) noexcept {
  return backend.maker != nullptr || backend.plan != nullptr;
}

std::string_view CheckProblem(const AttentionBackend& backend, const AttentionProblem& problem, const Device& device) {
  if (backend.maker != nullptr) return backend.maker->Check(problem, device);
  return backend.check == nullptr ? "" : backend.check(problem, device);
}

double SpeedOf(const AttentionBackend& backend, const AttentionProblem& problem, const Device& device) {
  if (backend.maker != nullptr) return backend.maker->Speed(problem, device);
  return backend.speed == nullptr ? 0 : backend.speed(problem, device);
}

std::unique_ptr<AttentionPlan> MakePlan(const AttentionBackend& backend, const AttentionProblem& problem,
                                        const Device& device, const Options& options) {
  const Options resolved = ResolveOptions(backend, options);
  return backend.maker != nullptr ? backend.maker->Plan(problem, device, resolved)
                                  : backend.plan(problem, device, resolved);
}

}  // namespace tessera
