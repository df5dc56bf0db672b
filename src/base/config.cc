#include "base/config.h"

#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/read_file.h"
#include "base/text.h"

namespace tessera {
namespace {

using Json = nlohmann::json;

[[noreturn]] void Refuse(const Config& config, const std::string& key, const std::string& expected, const Json& found) {
  throw Error(ErrorKind::kFormat, fmt::format("{}: '{}' must be {}, found {}", config.file(), Printable(key), expected,
                                              DescribeJson(found)));
}

const Json* Find(const Config& config, const std::string& key) {
  if (!config.json().is_object()) return nullptr;
  const auto place = config.json().find(key);
  return place == config.json().end() || place->is_null() ? nullptr : &*place;
}

// Writers differ: 4 and 4.0 mean the same size.
std::optional<int64_t> Whole(const Json& value) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) return std::nullopt;
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  if (std::abs(number) > 9007199254740992.0 || number != std::floor(number)) return std::nullopt;
  return static_cast<int64_t>(number);
}

}  // namespace

Config Config::FromFile(const std::filesystem::path& path) {
  std::string file = Printable(path.string(), 400);
  Json tree = ParseJson(ReadWholeFile(path, kMostJsonBytes), file);
  if (!tree.is_object()) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: expected a JSON object, found {}", file, DescribeJson(tree)));
  }
  return {std::move(tree), std::move(file)};
}

bool Config::Has(const std::string& key) const { return Find(*this, key) != nullptr; }

int64_t Config::Int(const std::string& key, int64_t fallback, int64_t least, int64_t most) const {
  const Json* value = Find(*this, key);
  if (value == nullptr) return fallback;
  const std::optional<int64_t> number = Whole(*value);
  if (!number || *number < least || *number > most) {
    Refuse(*this, key, fmt::format("an integer from {} to {}", least, most), *value);
  }
  return *number;
}

double Config::Float(const std::string& key, double fallback) const {
  const Json* value = Find(*this, key);
  if (value == nullptr) return fallback;
  if (!value->is_number() || !std::isfinite(value->get<double>())) Refuse(*this, key, "a number", *value);
  return value->get<double>();
}

bool Config::Bool(const std::string& key, bool fallback) const {
  const Json* value = Find(*this, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) Refuse(*this, key, "true or false", *value);
  return value->get<bool>();
}

std::string Config::String(const std::string& key, const std::string& fallback) const {
  const Json* value = Find(*this, key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) Refuse(*this, key, "a string", *value);
  return value->get<std::string>();
}

std::vector<int64_t> Config::Ints(const std::string& key, const std::vector<int64_t>& fallback) const {
  const Json* value = Find(*this, key);
  if (value == nullptr) return fallback;
  if (!value->is_array()) Refuse(*this, key, "an array of integers", *value);
  std::vector<int64_t> numbers;
  for (const Json& element : *value) {
    const std::optional<int64_t> number = Whole(element);
    if (!number) Refuse(*this, fmt::format("{}[{}]", key, numbers.size()), "an integer", element);
    numbers.push_back(*number);
  }
  return numbers;
}

Config Config::Object(const std::string& key) const {
  const Json* value = Find(*this, key);
  std::string place = fmt::format("{} ({})", file_, Printable(key));
  if (value == nullptr) return {Json::object(), std::move(place)};
  if (!value->is_object()) Refuse(*this, key, "an object", *value);
  return {*value, std::move(place)};
}

}  // namespace tessera
