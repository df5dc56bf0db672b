#include "attention/backend.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "attention/planner.h"
#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr std::array<std::string_view, 3> kFidelities = {"exact", "quantized", "sparse"};

bool Spells(const OptionSpec& spec, std::string_view key) {
  if (Lower(spec.key) == key) return true;
  const auto aliases = Split(Lower(spec.aliases), ' ');
  return !key.empty() && std::find(aliases.begin(), aliases.end(), key) != aliases.end();
}

// A name that may stand before a key with a dot, and the options meant by it.
struct OptionGroup {
  std::string_view name;
  std::span<const OptionSpec> options;
  bool Has(std::string_view wanted) const { return !name.empty() && Lower(name) == wanted; }
};

std::vector<OptionGroup> Groups(const AttentionBackend& backend) {
  std::vector<OptionGroup> groups = {{backend.option_group, backend.options}, {backend.name, backend.options}};
  if (backend.planner != nullptr) groups.push_back({backend.planner->name, backend.options});
  if (backend.kernel == nullptr) return groups;
  groups.push_back({backend.kernel->name, backend.kernel->options});
  groups.push_back({backend.kernel->option_group, backend.kernel->options});
  return groups;
}

const OptionSpec* Spelled(std::span<const OptionSpec> options, std::string_view prefix, std::string_view key) {
  const auto find = [&](std::string_view spelling) -> const OptionSpec* {
    const auto at = std::find_if(options.begin(), options.end(), [&](const auto& s) { return Spells(s, spelling); });
    return at == options.end() ? nullptr : &*at;
  };
  if (const OptionSpec* spec = find(key)) return spec;
  return !prefix.empty() && key.starts_with(prefix) ? find(key.substr(prefix.size())) : nullptr;
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

// As the data sheet writes it.
std::string CheckedChoice(const AttentionBackend& backend, const OptionSpec& spec, const std::string& word) {
  if (spec.choices.empty()) return word;
  const auto choices = Split(spec.choices, '|');
  const auto at = std::find_if(choices.begin(), choices.end(), [&](const auto& c) { return Lower(c) == Lower(word); });
  if (at != choices.end()) return *at;
  const auto nearest = Nearest(Lower(word), choices);
  RejectOption(backend, spec.key,
               fmt::format("'{}' is not one of {}{}", Printable(word), Join(choices, ", "),
                           nearest ? fmt::format("; did you mean '{}'", *nearest) : ""));
}

bool IsWhole(double number) { return number == std::floor(number) && std::abs(number) < 9e15; }

OptionValue CheckedValue(const AttentionBackend& backend, const OptionSpec& spec, OptionValue value) {
  const OptionValue model = DefaultOf(spec);
  if (std::holds_alternative<double>(model) && std::holds_alternative<int64_t>(value)) {
    value = static_cast<double>(std::get<int64_t>(value));
  }
  if (const auto* number = std::get_if<double>(&value); number && std::holds_alternative<int64_t>(model)) {
    if (IsWhole(*number)) value = static_cast<int64_t>(*number);
  }
  if (value.index() != model.index()) {
    RejectOption(backend, spec.key, fmt::format("wanted {}, got {}", TypeName(model), TypeName(value)));
  }
  if (const auto* whole = std::get_if<int64_t>(&value)) CheckRange(backend, spec, static_cast<double>(*whole));
  if (const auto* number = std::get_if<double>(&value)) CheckRange(backend, spec, *number);
  if (const auto* word = std::get_if<std::string>(&value)) value = CheckedChoice(backend, spec, *word);
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

std::vector<const OptionSpec*> AllOptions(const AttentionBackend& backend) {
  std::vector<const OptionSpec*> all;
  for (const OptionSpec& spec : backend.options) all.push_back(&spec);
  if (backend.kernel == nullptr) return all;
  for (const OptionSpec& spec : backend.kernel->options) all.push_back(&spec);
  return all;
}

const OptionSpec* FindOption(const AttentionBackend& backend, std::string_view spelling) {
  const std::string key = Lower(Trim(spelling));
  const std::string prefix = Lower(backend.option_prefix);
  if (const size_t dot = key.find('.'); dot != std::string::npos) {
    for (const OptionGroup& group : Groups(backend)) {
      if (!group.Has(key.substr(0, dot))) continue;
      if (const OptionSpec* spec = Spelled(group.options, prefix, key.substr(dot + 1))) return spec;
    }
    return nullptr;
  }
  if (const OptionSpec* spec = Spelled(backend.options, prefix, key)) return spec;
  return backend.kernel == nullptr ? nullptr
                                   : Spelled(backend.kernel->options, Lower(backend.kernel->option_prefix), key);
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

void AttentionPlan::Restore(const TensorState& state) { state.RequireEmpty("an attention backend", "backend"); }

std::string_view CheckSoftmaxScale(const AttentionProblem& problem, const Device&) {
  return problem.softmax_scale() > 0 ? "" : "the softmax scale must be greater than 0";
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
