#include "cli/backend_options.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "cli/flag_config.h"

namespace tessera {
namespace {

constexpr const char* kFlagName = "--attention-backend-config";

// Cuts at commas outside brackets and quotes.
std::vector<std::string> SplitPairs(const std::string& text) {
  std::vector<std::string> pairs(1);
  int depth = 0;
  char quote = 0;
  for (const char c : text) {
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '[' || c == ']') {
      depth += c == '[' ? 1 : -1;
    } else if (c == ',' && depth == 0) {
      pairs.emplace_back();
      continue;
    }
    pairs.back() += c;
  }
  return pairs;
}

// key=value,... as lines of YAML, whose scalars are typed as users expect.
std::string AsYaml(const std::string& text) {
  std::string yaml;
  for (const std::string& pair : SplitPairs(text)) {
    const size_t equals = pair.find('=');
    const std::string_view key = Trim(std::string_view(pair).substr(0, equals));
    if (equals == std::string::npos || key.empty()) {
      throw Error(ErrorKind::kUsage, fmt::format("{} '{}': '{}' is no key=value; JSON and .json, .yaml files work too",
                                                 kFlagName, Printable(text, 80), Printable(pair, 40)));
    }
    yaml += fmt::format("{}: {}\n", key, Trim(std::string_view(pair).substr(equals + 1)));
  }
  return yaml;
}

std::vector<ConfigEntry> ReadEntries(const std::string& text) {
  const std::string_view trimmed = Trim(text);
  if (trimmed.starts_with('{')) return ParseFlagConfig(trimmed, ConfigSyntax::kJson, kFlagName);
  for (const char* extension : {".json", ".yaml", ".yml"}) {
    if (Lower(trimmed).ends_with(extension) && trimmed.find('=') == std::string_view::npos) return ReadFlagConfig(text);
  }
  return ParseFlagConfig(AsYaml(text), ConfigSyntax::kYaml, kFlagName);
}

OptionValue ValueOf(const ConfigScalar& scalar) {
  if (scalar.kind == ScalarKind::kText) return scalar.text;
  if (const auto whole = ParseInt(scalar.text)) return *whole;
  if (const auto number = ParseFloat(scalar.text)) return *number;
  const std::string word = Lower(scalar.text);
  if (word == "true" || word == "false") return word == "true";
  return scalar.text;
}

OptionValue ListOf(const ConfigEntry& entry) {
  std::vector<double> numbers;
  for (const ConfigScalar& scalar : entry.values) {
    const auto number = ParseFloat(scalar.text);
    if (!number) {
      throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' has '{}' in its list; numbers work", kFlagName,
                                                 Printable(entry.name), Printable(scalar.text, 40)));
    }
    numbers.push_back(*number);
  }
  return numbers;
}

}  // namespace

Options ParseBackendOptions(const std::string& text) {
  Options options;
  for (const ConfigEntry& entry : ReadEntries(text)) {
    options.Set(entry.name, entry.is_list ? ListOf(entry) : ValueOf(entry.values.front()));
  }
  return options;
}

}  // namespace tessera
