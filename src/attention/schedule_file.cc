#include "attention/schedule_file.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "attention/option_text.h"
#include "attention/request_options.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "base/yaml.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr std::array kFidelities = {Fidelity::kExact, Fidelity::kQuantized, Fidelity::kSparse};
constexpr std::array kRoles = {AttentionRole::kSelf, AttentionRole::kCross, AttentionRole::kJoint,
                               AttentionRole::kEncoder, AttentionRole::kVae};
constexpr size_t kMostRules = 10000;

[[noreturn]] void Reject(std::string_view source, const std::string& why) {
  throw Error(ErrorKind::kUsage, fmt::format("{}: {}", source, why));
}

// A word or a list of words.
std::vector<std::string> WordsOf(const json& value, const std::string& source) {
  std::vector<std::string> words;
  const json list = value.is_array() ? value : json::array({value});
  for (const json& word : list) {
    if (!word.is_string()) Reject(source, fmt::format("{} is no word", Printable(DescribeJson(word), 60)));
    words.push_back(word.get<std::string>());
  }
  if (words.empty()) Reject(source, "is an empty list");
  return words;
}

AttentionRole RoleOf(std::string_view word, const std::string& source) {
  std::vector<std::string> known;
  for (const AttentionRole role : kRoles) {
    if (Name(role) == Lower(word)) return role;
    known.emplace_back(Name(role));
  }
  const auto nearest = Nearest(Lower(word), known);
  Reject(source, fmt::format("no role '{}'; roles are {}{}", Printable(word), Join(known, ", "),
                             nearest ? fmt::format("; did you mean '{}'", *nearest) : ""));
}

// 3, "0-3,-1", or a list of these.
std::vector<PlaceRange> RangesOf(const json& value, const std::string& source) {
  std::vector<PlaceRange> ranges;
  const json list = value.is_array() ? value : json::array({value});
  for (const json& place : list) {
    if (!place.is_string() && !place.is_number_integer()) {
      Reject(source,
             fmt::format("{} is no place; 3, \"0-3,-1\" and \"0.0-0.3\" work", Printable(DescribeJson(place), 60)));
    }
    const std::string text = place.is_string() ? place.get<std::string>() : place.dump();
    for (const PlaceRange& range : ParsePlaceRanges(text, source)) ranges.push_back(range);
  }
  if (ranges.empty()) Reject(source, "is an empty list");
  return ranges;
}

// What a rule says before it is spread over its components and roles.
struct WrittenRule {
  ScheduleRule rule;
  std::vector<std::string> components;
  std::vector<AttentionRole> roles;
};

// Runs `read` with "SOURCE: rule N" in front of its errors.
template <class Read>
void WithSource(const std::string& source, Read read) {
  try {
    read();
  } catch (const Error& error) {
    const std::string_view what = error.what();
    throw Error(error.kind(), what.starts_with(source) ? std::string(what) : fmt::format("{}: {}", source, what));
  }
}

void ReadConfig(const json& value, const std::string& source, ScheduleRule& rule) {
  rule.request.options =
      value.is_string() ? ParseOptions(value.get<std::string>(), source) : OptionsFromJson(value, source);
}

void ReadMember(const std::string& key, const json& value, const std::string& source, WrittenRule& written) {
  const std::string here = fmt::format("{}: {}", source, Printable(key));
  AttentionRequest& request = written.rule.request;
  if (key == "component") {
    written.components = WordsOf(value, here);
  } else if (key == "role") {
    for (const std::string& word : WordsOf(value, here)) written.roles.push_back(RoleOf(word, here));
  } else if (key == "layers") {
    written.rule.layers = RangesOf(value, here);
  } else if (key == "steps") {
    written.rule.steps = RangesOf(value, here);
  } else if (key == "backend") {
    request.names = {Join(WordsOf(value, here), ",")};
  } else if (key == "config") {
    ReadConfig(value, here, written.rule);
  } else if (key == "fidelity") {
    request.fidelity = ParseFidelity(WordsOf(value, here).front(), here);
  } else {
    const std::vector<std::string> known = {"component", "role", "layers", "steps", "backend", "config", "fidelity"};
    const auto nearest = Nearest(key, known);
    Reject(source, fmt::format("no key '{}' in a rule; known: {}{}", Printable(key), Join(known, ", "),
                               nearest ? fmt::format("; did you mean '{}'", *nearest) : ""));
  }
}

// Every component with every role; an empty list stands for any.
std::vector<ScheduleRule> Spread(const WrittenRule& written) {
  std::vector<ScheduleRule> rules = {written.rule};
  if (!written.components.empty()) {
    rules.clear();
    for (const std::string& component : written.components) {
      rules.push_back(written.rule);
      rules.back().component = component;
    }
  }
  if (written.roles.empty()) return rules;
  std::vector<ScheduleRule> spread;
  for (const ScheduleRule& rule : rules) {
    for (const AttentionRole role : written.roles) {
      spread.push_back(rule);
      spread.back().role = role;
    }
  }
  return spread;
}

std::vector<ScheduleRule> ReadRule(const json& tree, int number, const std::string& source,
                                   const AttentionRegistry& registry) {
  if (!tree.is_object()) Reject(source, fmt::format("{} is no object", Printable(DescribeJson(tree), 60)));
  if (!tree.contains("backend")) Reject(source, "names no backend");
  WrittenRule written;
  for (const auto& [key, value] : tree.items()) {
    WithSource(source, [&, &name = key, &member = value] { ReadMember(name, member, source, written); });
  }
  AttentionRequest& request = written.rule.request;
  request.source = ChoiceSource::kSchedule;
  request.rule = number;
  WithSource(source, [&] {
    request.names = ParseBackendNames(request.names.front(), registry);
    CheckOptions(request.options, request.names, registry, source);
  });
  return Spread(written);
}

}  // namespace

Fidelity ParseFidelity(std::string_view word, std::string_view source) {
  for (const Fidelity fidelity : kFidelities) {
    if (Name(fidelity) == Lower(word)) return fidelity;
  }
  Reject(source, fmt::format("'{}' is no fidelity; exact, quantized and sparse work", Printable(word)));
}

json ReadScheduleTree(const std::string& given) {
  const std::string_view text = Trim(given);
  const bool is_text = text.starts_with('[') || text.starts_with('{');
  return is_text ? ParseJson(text, "--attention-schedule", kMostYamlDepth) : ReadJsonOrYaml(given);
}

std::vector<ScheduleRule> ParseScheduleRules(const json& tree, std::string_view source,
                                             const AttentionRegistry& registry) {
  const json* list = &tree;
  if (tree.is_object()) {
    if (tree.size() != 1 || !tree.contains("rules")) {
      Reject(source, "an object with one key 'rules', or a list of rules, is needed");
    }
    list = &tree["rules"];
  }
  if (!list->is_array() || list->empty()) Reject(source, "a list of rules is needed");
  if (list->size() > kMostRules) Reject(source, fmt::format("has more than {} rules", kMostRules));
  std::vector<ScheduleRule> rules;
  for (size_t i = 0; i < list->size(); ++i) {
    const int number = static_cast<int>(i) + 1;
    for (ScheduleRule& rule : ReadRule((*list)[i], number, fmt::format("{}, rule {}", source, number), registry)) {
      rules.push_back(std::move(rule));
    }
  }
  return rules;
}

std::vector<ScheduleRule> ParseComponentOverrides(const std::map<std::string, std::string>& overrides,
                                                  const Options& options, const AttentionRegistry& registry) {
  std::vector<ScheduleRule> rules;
  for (const auto& [site, names] : overrides) {
    const std::string source = fmt::format("component override {}", Printable(site));
    ScheduleRule rule;
    const size_t dot = site.rfind('.');
    rule.component = site.substr(0, dot);
    if (dot != std::string::npos) rule.role = RoleOf(site.substr(dot + 1), source);
    if (rule.component->empty()) Reject(source, "names no component");
    WithSource(source, [&, &list = names] { rule.request.names = ParseBackendNames(list, registry); });
    rule.request.source = ChoiceSource::kComponent;
    rule.request.options = options;
    rules.push_back(std::move(rule));
  }
  // A role is more than its component.
  std::stable_partition(rules.begin(), rules.end(), [](const ScheduleRule& rule) { return rule.role.has_value(); });
  return rules;
}

}  // namespace tessera
