#include "text/tokenizer_part.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace tessera {

Config PartOf(const Config& parent, const std::string& key) {
  if (!parent.Has(key)) throw Error(ErrorKind::kFormat, fmt::format("{}: '{}' is missing", parent.file(), key));
  return parent.Object(key);
}

std::vector<Config> PartsOf(const Config& parent, const std::string& key) {
  const auto place = parent.json().find(key);
  if (place == parent.json().end() || !place->is_array()) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: '{}' must be an array", parent.file(), key));
  }
  std::vector<Config> parts;
  for (const auto& element : *place) {
    std::string name = fmt::format("{} ({}[{}])", parent.file(), key, parts.size());
    if (!element.is_object()) {
      throw Error(ErrorKind::kFormat, fmt::format("{}: expected an object, found {}", name, DescribeJson(element)));
    }
    parts.emplace_back(element, std::move(name));
  }
  return parts;
}

std::string TypeOf(const Config& part) {
  if (!part.Has("type")) throw Error(ErrorKind::kFormat, fmt::format("{}: 'type' is missing", part.file()));
  return part.String("type", "");
}

void RefuseType(const Config& part, const std::string& what, const std::string& known) {
  throw Error(ErrorKind::kUnsupported, fmt::format("{}: the {} '{}' is not known; known are {}", part.file(), what,
                                                   Printable(TypeOf(part)), known));
}

std::unique_ptr<Pattern> PatternOf(const Config& part, const std::string& key) {
  const Config pattern = PartOf(part, key);
  if (pattern.Has("Regex")) return MakeRegexPattern(pattern.String("Regex", ""), pattern.file());
  if (pattern.Has("String")) return MakeLiteralPattern(pattern.String("String", ""));
  throw Error(ErrorKind::kFormat, fmt::format("{}: neither 'String' nor 'Regex'", pattern.file()));
}

}  // namespace tessera
