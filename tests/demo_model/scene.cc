#include "demo_model/scene.h"

#include <algorithm>
#include <array>
#include <map>
#include <regex>
#include <sstream>
#include <stdexcept>

#include "base/text.h"

namespace tessera::demo {
namespace {

using Words = std::vector<std::pair<std::string, std::string>>;  // word -> what it means, in the grammar's order

const Words& ColorWords() {
  static const Words words = {{"red", "red"},       {"orange", "orange"},  {"yellow", "yellow"}, {"green", "green"},
                              {"cyan", "cyan"},     {"turquoise", "cyan"}, {"blue", "blue"},     {"purple", "purple"},
                              {"violet", "purple"}, {"pink", "pink"},      {"brown", "brown"},   {"black", "black"},
                              {"white", "white"},   {"gray", "gray"},      {"grey", "gray"}};
  return words;
}

const std::map<std::string, std::string>& ShapeWords() {
  static const std::map<std::string, std::string> words = [] {
    std::map<std::string, std::string> singular = {
        {"circle", "circle"}, {"disc", "circle"}, {"square", "square"},   {"triangle", "triangle"},
        {"star", "star"},     {"ring", "ring"},   {"donut", "ring"},      {"heart", "heart"},
        {"cross", "cross"},   {"plus", "cross"},  {"hexagon", "hexagon"}, {"crescent", "crescent"},
        {"moon", "crescent"}, {"arrow", "arrow"}, {"diamond", "diamond"}, {"rhombus", "diamond"},
        {"house", "house"},   {"tree", "tree"},   {"flower", "flower"},   {"fish", "fish"}};
    std::map<std::string, std::string> both = singular;
    for (const auto& [word, shape] : singular) both[word + (word.ends_with("s") ? "es" : "s")] = shape;
    return both;
  }();
  return words;
}

std::string DefaultColor(const std::string& shape) {
  static const std::map<std::string, std::string> colors = {
      {"circle", "red"},   {"square", "blue"}, {"triangle", "green"}, {"star", "yellow"},     {"ring", "orange"},
      {"heart", "red"},    {"cross", "red"},   {"hexagon", "purple"}, {"crescent", "yellow"}, {"arrow", "black"},
      {"diamond", "cyan"}, {"house", "red"},   {"tree", "green"},     {"flower", "pink"},     {"fish", "orange"}};
  const auto found = colors.find(shape);
  return found == colors.end() ? "" : found->second;
}

const Words& RelationPhrases() {  // the longest first, as an alternation must try them
  static const Words phrases = [] {
    Words list = {{"to the left of", "left"},   {"left of", "left"},   {"on the left of", "left"},
                  {"to the right of", "right"}, {"right of", "right"}, {"on the right of", "right"},
                  {"above", "above"},           {"over", "above"},     {"on top of", "above"},
                  {"below", "below"},           {"under", "below"},    {"beneath", "below"},
                  {"inside", "inside"},         {"in", "inside"},      {"within", "inside"}};
    std::stable_sort(list.begin(), list.end(),
                     [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
    return list;
  }();
  return phrases;
}

std::string Alternation(const Words& words) {
  std::vector<std::string> names;
  for (const auto& [word, meaning] : words) names.push_back(word);
  return "(" + Join(names, "|") + ")";
}

std::string Meaning(const Words& words, const std::string& word) {
  for (const auto& [name, meaning] : words) {
    if (name == word) return meaning;
  }
  throw std::logic_error("no meaning for " + word);
}

std::vector<std::string> WordsOf(std::string text) {
  std::replace(text.begin(), text.end(), ',', ' ');
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

struct CountedObject {
  Object object;
  int count = 1;
};

// Takes one word of a noun phrase; unknown words ("a", "with") say nothing.
void ReadWord(const std::string& word, CountedObject* counted) {
  Object& object = counted->object;
  const auto color =
      std::find_if(ColorWords().begin(), ColorWords().end(), [&](const auto& entry) { return entry.first == word; });
  if (color != ColorWords().end()) object.color = color->second;
  if (word == "small" || word == "little" || word == "tiny") object.size = Size::kSmall;
  if (word == "big" || word == "large") object.size = Size::kBig;
  if (word == "striped" || word == "stripes") object.pattern = Pattern::kStriped;
  if (word == "dotted" || word == "dots") object.pattern = Pattern::kDotted;
  if (word == "two" || word == "2") counted->count = 2;
  if (word == "three" || word == "3") counted->count = 3;
  const auto shape = ShapeWords().find(word);
  if (shape != ShapeWords().end() && object.shape.empty()) object.shape = shape->second;
}

std::optional<CountedObject> ParseObject(const std::string& text) {
  CountedObject counted;
  for (const std::string& word : WordsOf(text)) ReadWord(word, &counted);
  if (counted.object.color.empty()) counted.object.color = DefaultColor(counted.object.shape);
  if (counted.object.shape.empty() || counted.object.color.empty()) return std::nullopt;
  return counted;
}

void DropPrefix(std::string* text) {
  for (const char* prefix : {"a picture of ", "an image of ", "a drawing of ", "draw ", "there is ", "show "}) {
    if (text->starts_with(prefix)) {
      text->erase(0, std::string_view(prefix).size());
      return;
    }
  }
}

// Cuts the words of the background off the end of `text`.
std::vector<std::string> TakeBackground(std::string* text) {
  static const std::string c = Alternation(ColorWords());
  static const std::array<std::regex, 4> patterns = {
      std::regex("(?:,| on an?| with an?| over an?)? *" + c + " to " + c + " gradient(?: background)?$"),
      std::regex(" (?:on|with) an? gradient background from " + c + " to " + c + "$"),
      std::regex("(?:,| on an?| with an?| on the| with) *" + c + " background$"), std::regex(" on " + c + "$")};
  for (const std::regex& pattern : patterns) {
    std::smatch match;
    if (!std::regex_search(*text, match, pattern)) continue;
    std::vector<std::string> colors;
    for (size_t group = 1; group < match.size(); ++group) colors.push_back(Meaning(ColorWords(), match[group]));
    text->resize(static_cast<size_t>(match.position()));
    while (text->ends_with(' ') || text->ends_with(',')) text->pop_back();
    return colors;
  }
  return {};
}

std::optional<Scene> WithPosition(const std::string& text, const Scene& base) {
  static const std::regex pattern(
      " (?:at|in|on) the (center|middle|top left|top right|bottom left|bottom right|top|bottom|left|right)"
      "(?: corner)?$");
  std::smatch match;
  if (!std::regex_search(text, match, pattern)) return std::nullopt;
  Scene scene = base;
  scene.relation = "single";
  scene.position = match[1] == "middle" ? "center" : match[1].str();
  if (const auto object = ParseObject(match.prefix())) scene.objects = {object->object};
  return scene;
}

std::optional<Scene> WithRelation(const std::string& text, const Scene& base) {
  static const std::regex pattern(" " + Alternation(RelationPhrases()) + " ");
  std::smatch match;
  if (!std::regex_search(text, match, pattern)) return std::nullopt;
  Scene scene = base;
  scene.relation = Meaning(RelationPhrases(), match[1]);
  std::vector<std::string> parts = {match.prefix(), match.suffix()};
  const size_t also = parts[1].find(" and ");
  if (scene.relation == "above" && also != std::string::npos) {
    scene.relation = "tri";
    parts = {parts[0], parts[1].substr(0, also), parts[1].substr(also + 5)};
  }
  for (const std::string& part : parts) {
    const auto object = ParseObject(part);
    if (!object) return base;  // a relation of something unknown: outside the grammar
    scene.objects.push_back(object->object);
  }
  return scene;
}

std::optional<Scene> List(const std::string& text, const Scene& base) {
  static const std::regex separator(", | and | next to | beside ");
  std::vector<CountedObject> found;
  for (std::sregex_token_iterator part(text.begin(), text.end(), separator, -1), end; part != end; ++part) {
    if (part->length() == 0) continue;
    const auto object = ParseObject(*part);
    if (!object) return std::nullopt;
    found.push_back(*object);
  }
  if (found.empty() || found.size() > 3) return std::nullopt;
  Scene scene = base;
  for (const CountedObject& counted : found) scene.objects.push_back(counted.object);
  scene.count = found.size() == 1 ? found[0].count : 1;
  scene.relation = found.size() == 3 ? "row" : found.size() == 2 ? "and" : scene.count > 1 ? "count" : "single";
  return scene;
}

double RadiusOf(const Object& object, int group) {
  static constexpr double kRadii[3][3] = {{.15, .24, .34}, {.10, .155, .205}, {.08, .115, .15}};
  return kRadii[group - 1][static_cast<int>(object.size)];
}

PlacedObject Single(const Scene& scene) {
  const std::string& position = scene.position;
  const bool center = position.empty() || position == "center";
  const double x = position.ends_with("left") ? .25 : position.ends_with("right") ? .75 : .5;
  const double y = position.starts_with("top") ? .25 : position.starts_with("bottom") ? .75 : .5;
  return {scene.objects[0], x, y, RadiusOf(scene.objects[0], center ? 1 : 2)};
}

struct Point {
  double x, y;
};

std::vector<Point> PointsOf(const Scene& scene) {
  const std::string& relation = scene.relation;
  if (relation == "row" || (relation == "count" && scene.count == 3)) return {{.19, .5}, {.5, .5}, {.81, .5}};
  if (relation == "tri") return {{.5, .27}, {.27, .72}, {.73, .72}};
  if (relation == "right") return {{.72, .5}, {.28, .5}};
  if (relation == "above") return {{.5, .27}, {.5, .73}};
  if (relation == "below") return {{.5, .73}, {.5, .27}};
  return {{.28, .5}, {.72, .5}};
}

}  // namespace

const std::vector<NamedColor>& Palette() {
  static const std::vector<NamedColor> palette = {
      {"red", {214, 40, 40}},   {"orange", {247, 140, 20}}, {"yellow", {252, 218, 50}}, {"green", {44, 150, 62}},
      {"cyan", {70, 205, 210}}, {"blue", {38, 84, 206}},    {"purple", {130, 52, 176}}, {"pink", {246, 150, 196}},
      {"brown", {122, 74, 36}}, {"black", {22, 22, 26}},    {"white", {246, 246, 246}}, {"gray", {140, 142, 148}}};
  return palette;
}

Color ColorOf(std::string_view name) {
  for (const NamedColor& named : Palette()) {
    if (named.name == name) return named.color;
  }
  throw std::logic_error("no color " + std::string(name));
}

std::optional<Scene> ParseCaption(const std::string& caption) {
  std::string text(Trim(caption));
  while (text.ends_with('.')) text.pop_back();
  std::istringstream stream(Lower(text));
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  text = Join(words, " ");
  DropPrefix(&text);
  Scene base;
  base.background = TakeBackground(&text);
  std::optional<Scene> scene = WithPosition(text, base);
  if (!scene) scene = WithRelation(text, base);
  if (!scene) scene = List(text, base);
  return scene && !scene->objects.empty() ? scene : std::nullopt;
}

std::vector<PlacedObject> ExpectedLayout(const Scene& scene) {
  const std::vector<Object>& objects = scene.objects;
  if (scene.relation == "single") return {Single(scene)};
  if (scene.relation == "inside") {
    constexpr double kInner[3] = {.09, .12, .15};
    return {{objects[1], .5, .5, .37}, {objects[0], .5, .5, kInner[static_cast<int>(objects[0].size)]}};
  }
  const std::vector<Point> points = PointsOf(scene);
  const int group = static_cast<int>(points.size());
  std::vector<PlacedObject> placed;
  for (size_t i = 0; i < points.size(); ++i) {
    const Object& object = scene.relation == "count" ? objects[0] : objects[i];
    placed.push_back({object, points[i].x, points[i].y, RadiusOf(object, group)});
  }
  return placed;
}

}  // namespace tessera::demo
