#include "attention/option_text.h"

#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "base/yaml.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr int kMostDepth = 8;
constexpr size_t kMostText = size_t{1} << 20;

[[noreturn]] void Reject(std::string_view source, const std::string& why) {
  throw Error(ErrorKind::kUsage, fmt::format("{}: {}", source, why));
}

// Cuts at commas outside brackets, braces and quotes.
std::vector<std::string> SplitPairs(const std::string& text, std::string_view source) {
  std::vector<std::string> pairs(1);
  int depth = 0;
  char quote = 0;
  for (const char c : text) {
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ',' && depth == 0) {
      pairs.emplace_back();
      continue;
    }
    pairs.back() += c;
  }
  if (depth != 0 || quote != 0) {
    Reject(source, fmt::format("'{}' has a bracket or a quote that is not closed", Printable(text, 60)));
  }
  return pairs;
}

json ParsePairValue(std::string_view value, std::string_view source) {
  const bool structured = !value.empty() && std::string_view("[{\"'").find(value.front()) != std::string_view::npos;
  return structured ? ParseYaml(value, std::string(source), kMostDepth) : TypedScalar(value);
}

json ParsePairs(const std::string& text, std::string_view source) {
  json tree = json::object();
  for (const std::string& pair : SplitPairs(text, source)) {
    const size_t equals = pair.find('=');
    const std::string key(Trim(std::string_view(pair).substr(0, equals)));
    if (equals == std::string::npos || key.empty()) {
      Reject(source, fmt::format("'{}' is no key=value; JSON and .json, .yaml files work too", Printable(pair, 40)));
    }
    if (tree.contains(key)) Reject(source, fmt::format("option '{}' is given twice", Printable(key)));
    tree[key] = ParsePairValue(Trim(std::string_view(pair).substr(equals + 1)), source);
  }
  return tree;
}

bool IsFileName(std::string_view text) {
  for (const char* extension : {".json", ".yaml", ".yml"}) {
    if (Lower(text).ends_with(extension) && text.find('=') == std::string_view::npos) return true;
  }
  return false;
}

void AppendNumbers(const json& value, std::string_view key, std::string_view source, std::vector<double>& numbers) {
  if (value.is_array()) {
    for (const json& element : value) AppendNumbers(element, key, source, numbers);
  } else if (value.is_number()) {
    numbers.push_back(value.get<double>());
  } else {
    Reject(source, fmt::format("option '{}' has {} in its list; numbers work", Printable(key),
                               Printable(DescribeJson(value), 40)));
  }
}

OptionValue ValueOf(const json& value, std::string_view key, std::string_view source) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_unsigned() && value.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
    return value.get<double>();
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (!IsUtf8(text) || text.find('\0') != std::string::npos) {
      Reject(source, fmt::format("option '{}': '{}' is no text", Printable(key), Printable(text, 40)));
    }
    return text;
  }
  if (!value.is_array()) Reject(source, fmt::format("option '{}' has no value", Printable(key)));
  std::vector<double> numbers;
  AppendNumbers(value, key, source, numbers);
  return numbers;
}

void AddMembers(const json& tree, const std::string& prefix, std::string_view source, Options& options) {
  for (const auto& [name, value] : tree.items()) {
    const std::string key = prefix + name;
    if (Trim(name).empty() || !IsUtf8(name)) {
      Reject(source, fmt::format("'{}' is no name of an option", Printable(key)));
    }
    if (value.is_object()) {
      AddMembers(value, key + ".", source, options);
    } else {
      options.Set(key, ValueOf(value, key, source));
    }
  }
}

json ReadTree(const std::string& text, std::string_view source) {
  const std::string trimmed(Trim(text));
  if (text.size() > kMostText) Reject(source, "is longer than 1 MiB");
  if (!IsUtf8(text)) Reject(source, fmt::format("'{}' is not valid UTF-8", Printable(text, 60)));
  if (trimmed.starts_with('{')) return ParseJson(trimmed, std::string(source), kMostDepth);
  if (!IsFileName(trimmed)) return ParsePairs(trimmed, source);
  try {
    return ReadJsonOrYaml(trimmed);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}: {}", source, error.what()));
  }
}

}  // namespace

Options OptionsFromJson(const json& tree, std::string_view source) {
  if (!tree.is_object()) {
    Reject(source, fmt::format("{} is no object of options", Printable(DescribeJson(tree), 60)));
  }
  Options options;
  AddMembers(tree, "", source, options);
  return options;
}

Options ParseOptions(const std::string& text, std::string_view source) {
  return OptionsFromJson(ReadTree(text, source), source);
}

json OptionsToJson(const Options& options) {
  json tree = json::object();
  for (const auto& [key, value] : options.values()) {
    json& member = tree[key];
    std::visit([&member](const auto& held) { member = held; }, value);
  }
  return tree;
}

std::string PrintOptionValue(const OptionValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* whole = std::get_if<int64_t>(&value)) return std::to_string(*whole);
  if (const auto* number = std::get_if<double>(&value)) return fmt::format("{}", *number);
  if (const auto* list = std::get_if<std::vector<double>>(&value)) return fmt::format("[{}]", fmt::join(*list, ", "));
  const auto& word = std::get<std::string>(value);
  return word.empty() || word.find_first_of(" ,=\"'[]{}") != std::string::npos ? json(word).dump() : word;
}

std::string PrintOptions(const AttentionBackend& backend, const Options& options) {
  std::vector<std::string> parts;
  for (const auto& [key, value] : options.values()) {
    const OptionSpec* spec = FindOption(backend, key);
    if (spec != nullptr && DefaultOf(*spec) == value) continue;
    parts.push_back(fmt::format("{}={}", key, PrintOptionValue(value)));
  }
  return Join(parts, ",");
}

}  // namespace tessera
