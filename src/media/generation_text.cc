#include "media/generation_text.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kKey = "tessera";
constexpr size_t kMostBytes = size_t{1} << 20;

// The readers of `parameters` split at commas and colons unless a value is a JSON string.
std::string Quoted(const std::string& value) {
  if (value.find_first_of(",:\n\"") == std::string::npos) return value;
  return Json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
}

// "attention-backend" -> "Attention backend"
std::string Title(std::string_view flag) {
  std::string title(flag);
  for (char& c : title) c = c == '-' || c == '_' ? ' ' : c;
  if (!title.empty() && title[0] >= 'a' && title[0] <= 'z') title[0] = static_cast<char>(title[0] - 'a' + 'A');
  return title;
}

std::string Parameters(const GenerationText& generation) {
  std::string text = generation.prompt + '\n';
  if (!generation.negative_prompt.empty()) text += "Negative prompt: " + generation.negative_prompt + '\n';
  text += fmt::format("Steps: {}, Sampler: {}, CFG scale: {}, Seed: {}, Size: {}x{}, Model: {}", generation.steps,
                      Quoted(generation.sampler), generation.guidance_scale, generation.seed, generation.width,
                      generation.height, Quoted(generation.model));
  for (const auto& [flag, value] : generation.more) text += fmt::format(", {}: {}", Title(flag), Quoted(value));
  return text + ", Version: " + Quoted(generation.version);
}

std::string OwnJson(const GenerationText& generation) {
  const Json json = {{"prompt", generation.prompt},
                     {"negative_prompt", generation.negative_prompt},
                     {"model", generation.model},
                     {"sampler", generation.sampler},
                     {"steps", generation.steps},
                     {"seed", generation.seed},
                     {"height", generation.height},
                     {"width", generation.width},
                     {"guidance_scale", generation.guidance_scale},
                     {"version", generation.version},
                     {"more", generation.more}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Typed access to the fields of a JSON object of unknown origin.
class Fields {
 public:
  Fields(const Json& json, std::string_view name) : json_(json), name_(name) {}

  std::string Text(const char* field) const {
    const Json& value = At(field);
    if (!value.is_string()) Refuse(field, value, "text");
    auto text = value.get<std::string>();
    if (text.find('\0') != std::string::npos) Refuse(field, value, "text without NUL");
    return text;
  }
  int64_t Whole(const char* field) const {
    const Json& value = At(field);
    // A number above the signed range is stored as unsigned and would wrap.
    const bool fits = value.is_number_integer() &&
                      (!value.is_number_unsigned() || value.get<uint64_t>() <= std::numeric_limits<int64_t>::max());
    if (!fits || value.get<int64_t>() < 0) Refuse(field, value, "a whole number of at least 0");
    return value.get<int64_t>();
  }
  double Number(const char* field) const {
    const Json& value = At(field);
    if (!value.is_number() || !std::isfinite(value.get<double>())) Refuse(field, value, "a finite number");
    return value.get<double>();
  }
  std::map<std::string, std::string> Table(const char* field) const {
    const Json& value = At(field);
    if (!value.is_object()) Refuse(field, value, "an object of texts");
    std::map<std::string, std::string> table;
    for (const auto& [key, member] : value.items()) table[key] = Fields(value, name_).Text(key.c_str());
    return table;
  }

 private:
  const Json& At(const char* field) const {
    const auto found = json_.find(field);
    if (found != json_.end()) return *found;
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: its generation text has no '{}'", Printable(name_), Printable(field)));
  }
  [[noreturn]] void Refuse(const char* field, const Json& value, std::string_view wanted) const {
    const std::string shown = value.is_structured() ? value.type_name() : value.dump();
    throw Error(ErrorKind::kFormat, fmt::format("{}: its generation text has '{}' = {}, {} is needed", Printable(name_),
                                                Printable(field), Printable(shown, 60), wanted));
  }

  const Json& json_;
  std::string_view name_;
};

Json ParseOwn(const std::string& text, std::string_view name) {
  const bool readable = text.size() <= kMostBytes;
  const Json json = readable ? Json::parse(text, nullptr, false) : Json();
  if (json.is_object()) return json;
  throw Error(ErrorKind::kFormat, fmt::format("{}: its generation text is damaged, '{}' is not a JSON object",
                                              Printable(name), Printable(text, 60)));
}

}  // namespace

std::map<std::string, std::string> MakePictureText(const GenerationText& generation) {
  return {{"parameters", Parameters(generation)}, {std::string(kKey), OwnJson(generation)}};
}

GenerationText ParsePictureText(const std::map<std::string, std::string>& text, std::string_view name) {
  const auto own = text.find(std::string(kKey));
  if (own == text.end()) {
    const bool foreign = text.contains("parameters");
    throw Error(ErrorKind::kFormat, fmt::format("{}: holds no generation text of tessera{}", Printable(name),
                                                foreign ? ", only the parameters of another program" : ""));
  }
  const Json json = ParseOwn(own->second, name);
  const Fields fields(json, name);
  GenerationText generation;
  generation.prompt = fields.Text("prompt");
  generation.negative_prompt = fields.Text("negative_prompt");
  generation.model = fields.Text("model");
  generation.sampler = fields.Text("sampler");
  generation.steps = fields.Whole("steps");
  generation.seed = fields.Whole("seed");
  generation.height = fields.Whole("height");
  generation.width = fields.Whole("width");
  generation.guidance_scale = fields.Number("guidance_scale");
  generation.version = fields.Text("version");
  generation.more = fields.Table("more");
  return generation;
}

}  // namespace tessera
