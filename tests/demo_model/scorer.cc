#include "demo_model/scorer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include <fmt/format.h>

#include "demo_model/shapes.h"

namespace tessera::demo {
namespace {

constexpr int kGrid = 32;  // templates live on a kGrid x kGrid crop of +-kReach radii
constexpr double kReach = 1.35;
constexpr int kBackground = -1, kOther = -2;  // owners of pixels that belong to no object

double GridPoint(int index) { return ((index + .5) / kGrid * 2 - 1) * kReach; }

using GridMask = std::vector<uint8_t>;  // [kGrid, kGrid]

double Count(const GridMask& mask) { return static_cast<double>(std::count(mask.begin(), mask.end(), 1)); }

GridMask Template(std::string_view shape, double scale, double dx, double dy) {
  GridMask mask(kGrid * kGrid);
  for (int row = 0; row < kGrid; ++row) {
    for (int column = 0; column < kGrid; ++column) {
      const double x = (GridPoint(column) - dx) / scale, y = (GridPoint(row) - dy) / scale;
      mask[static_cast<size_t>(row * kGrid + column)] = SilhouetteDistance(shape, x, y) < 0;
    }
  }
  return mask;
}

// All small shifts and scales of one shape.
std::vector<GridMask> MakeTemplates(std::string_view shape) {
  constexpr std::array<double, 5> kShifts = {-.2, -.1, 0, .1, .2};
  std::vector<GridMask> templates;
  for (double scale : {.88, 1.0, 1.12}) {
    for (double dx : kShifts) {
      for (double dy : kShifts) templates.push_back(Template(shape, scale, dx, dy));
    }
  }
  return templates;
}

// Made whole before the first look: pictures are scored on several threads.
const std::vector<GridMask>& TemplatesOf(std::string_view shape) {
  static const std::map<std::string_view, std::vector<GridMask>> made = [] {
    std::map<std::string_view, std::vector<GridMask>> all;
    for (std::string_view name : ShapeNames()) all.emplace(name, MakeTemplates(name));
    return all;
  }();
  return made.at(shape);
}

struct Center {
  double x = 0, y = 0;
};

Center CenterOf(const GridMask& mask) {
  Center sum;
  for (int i = 0; i < kGrid * kGrid; ++i) {
    if (mask[static_cast<size_t>(i)]) sum = {sum.x + i % kGrid, sum.y + i / kGrid};
  }
  const double count = Count(mask);
  return {sum.x / count, sum.y / count};
}

float Overlap(const GridMask& shape, const GridMask& shown) {
  float both = 0;
  for (size_t i = 0; i < shape.size(); ++i) both += shape[i] & shown[i] ? 1.0f : 0.0f;
  return both / (static_cast<float>(Count(shape)) + static_cast<float>(Count(shown)) - both + 1e-6f);
}

Color Mix(const Color& color, float weight, float rest) {
  return {color.red * weight + rest, color.green * weight + rest, color.blue * weight + rest};
}

Color SecondColor(const Color& color) {
  return color.Mean() > 165 ? Mix(color, .35f, 0) : Mix(color, .22f, static_cast<float>(255 * .78));
}

// Every colour an object may show: its own, its pattern's, those of its parts.
std::vector<Color> ColorsOf(const Object& object) {
  const Color own = ColorOf(object.color);
  std::vector<Color> colors = {own};
  const auto unless = [&](const char* name, const char* other) { return ColorOf(object.color == name ? other : name); };
  if (object.pattern != Pattern::kSolid) colors.push_back(SecondColor(own));
  if (object.shape == "house") colors.push_back(own.Mean() > 60 ? Mix(own, .55f, 0) : Mix(own, .4f, 90));
  if (object.shape == "tree") colors.push_back(unless("brown", "black"));
  if (object.shape == "flower") colors.push_back(unless("yellow", "orange"));
  if (object.shape == "fish") colors.push_back(ColorOf(own.Mean() < 165 ? "white" : "black"));
  return colors;
}

float SquaredDifference(const Color& a, const Color& b) {
  const float red = a.red - b.red, green = a.green - b.green, blue = a.blue - b.blue;
  return red * red + green * green + blue * blue;
}

struct Candidate {
  int owner;
  Color color;
};

std::vector<std::string> BackgroundNames(const Scene& scene) {
  return scene.background.empty() ? std::vector<std::string>{"white"} : scene.background;
}

// What a pixel may be, besides background.
std::vector<Candidate> Candidates(const Scene& scene, const std::vector<PlacedObject>& objects) {
  std::vector<Candidate> candidates;
  const std::vector<std::string> names = BackgroundNames(scene);
  std::set<std::string_view> asked(names.begin(), names.end());
  for (size_t i = 0; i < objects.size(); ++i) {
    asked.insert(objects[i].object.color);
    for (const Color& color : ColorsOf(objects[i].object)) candidates.push_back({static_cast<int>(i), color});
  }
  for (const NamedColor& named : Palette()) {
    if (!asked.contains(named.name)) candidates.push_back({kOther, named.color});
  }
  return candidates;
}

// The picture, with the nearest candidate of every pixel.
class View {
 public:
  View(const Picture& picture, const Scene& scene)
      : size_(static_cast<int>(picture.height)),
        objects_(ExpectedLayout(scene)),
        candidates_(Candidates(scene, objects_)),
        nearest_(static_cast<size_t>(size_ * size_)) {
    for (int row = 0; row < size_; ++row) {
      const Color background = BackgroundAt(scene, row);
      for (int column = 0; column < size_; ++column) {
        const uint8_t* rgb = &picture.rgb[static_cast<size_t>(row * size_ + column) * 3];
        const Color pixel = {static_cast<float>(rgb[0]), static_cast<float>(rgb[1]), static_cast<float>(rgb[2])};
        nearest_[static_cast<size_t>(row * size_ + column)] = NearestTo(pixel, background);
      }
    }
  }

  int size() const { return size_; }
  const std::vector<PlacedObject>& objects() const { return objects_; }
  // Position of a pixel's centre in units of the side.
  double At(int index) const { return (index + .5) / size_; }

  int OwnerAt(int row, int column) const {
    const int candidate = CandidateAt(row, column);
    return candidate < 0 ? kBackground : candidates_[static_cast<size_t>(candidate)].owner;
  }
  // Equal objects share colours, so this compares colours and not owners.
  bool HasColorAt(const Color& color, int row, int column) const {
    const int candidate = CandidateAt(row, column);
    return candidate >= 0 && SquaredDifference(candidates_[static_cast<size_t>(candidate)].color, color) < 1;
  }

 private:
  int CandidateAt(int row, int column) const { return nearest_[static_cast<size_t>(row * size_ + column)]; }

  Color BackgroundAt(const Scene& scene, int row) const {
    const std::vector<std::string> names = BackgroundNames(scene);
    const Color top = ColorOf(names.front()), bottom = ColorOf(names.back());
    if (names.size() == 1) return top;
    const float t = (static_cast<float>(row) + .5f) / static_cast<float>(size_);
    return {top.red * (1 - t) + bottom.red * t, top.green * (1 - t) + bottom.green * t,
            top.blue * (1 - t) + bottom.blue * t};
  }

  int NearestTo(const Color& pixel, const Color& background) const {
    int nearest = -1;
    float least = SquaredDifference(pixel, background);
    for (size_t i = 0; i < candidates_.size(); ++i) {
      const float difference = SquaredDifference(pixel, candidates_[i].color);
      if (difference < least) {
        least = difference;
        nearest = static_cast<int>(i);
      }
    }
    return nearest;
  }

  int size_;
  std::vector<PlacedObject> objects_;
  std::vector<Candidate> candidates_;
  std::vector<int> nearest_;  // index of the candidate, -1 for background
};

// Whether the main colour is expected at (x, y): inside the main part, away from the parts drawn over it.
bool InSilhouette(const PlacedObject& placed, double x, double y) {
  const double u = (x - placed.x) / (placed.radius * .85), v = (y - placed.y) / (placed.radius * .85);
  bool main_seen = false;
  for (const Part& part : PartsOf(placed.object.shape)) {
    if (part.role == Role::kMain) {
      if (!main_seen && part.distance(u, v) >= 0) return false;
      main_seen = true;
    } else if (part.role != Role::kTrunk && part.distance(u * .85, v * .85) <= .05) {
      return false;
    }
  }
  return true;
}

bool ColorHolds(const View& view, const PlacedObject& placed, double hole) {
  const Color color = ColorOf(placed.object.color);
  int64_t all = 0, right = 0;
  for (int row = 0; row < view.size(); ++row) {
    for (int column = 0; column < view.size(); ++column) {
      const double x = view.At(column), y = view.At(row);
      if (!InSilhouette(placed, x, y) || std::hypot(x - .5, y - .5) <= hole) continue;
      ++all;
      right += view.HasColorAt(color, row, column);
    }
  }
  const double share = all == 0 ? 0 : static_cast<double>(right) / static_cast<double>(all);
  return share > (placed.object.pattern == Pattern::kSolid ? .5 : .25);
}

// The foreground around an object on the template grid. Pixels of `excluded` count as background.
GridMask Foreground(const View& view, const PlacedObject& placed, int excluded) {
  GridMask mask(kGrid * kGrid);
  for (int row = 0; row < kGrid; ++row) {
    const int y = static_cast<int>(std::floor((placed.y + GridPoint(row) * placed.radius) * view.size()));
    if (y < 0 || y >= view.size()) continue;
    for (int column = 0; column < kGrid; ++column) {
      const int x = static_cast<int>(std::floor((placed.x + GridPoint(column) * placed.radius) * view.size()));
      if (x < 0 || x >= view.size()) continue;
      const int owner = view.OwnerAt(y, x);
      mask[static_cast<size_t>(row * kGrid + column)] = owner != kBackground && owner != excluded;
    }
  }
  return mask;
}

bool ShapeHolds(const GridMask& shown, const std::string& shape) {
  float best = -1, own = -1;
  std::string_view best_shape;
  for (std::string_view name : ShapeNames()) {
    for (const GridMask& form : TemplatesOf(name)) {
      const float overlap = Overlap(form, shown);
      if (overlap > best) {
        best = overlap;
        best_shape = name;
      }
      if (name == shape) own = std::max(own, overlap);
    }
  }
  return (best_shape == shape && own > .5f) || (own > .9f * best && own > .8f);
}

bool PlaceHolds(const GridMask& shown, const PlacedObject& placed) {
  const GridMask expected = Template(placed.object.shape, 1, 0, 0);
  const double area = Count(shown) / Count(expected);
  double offset = 1;
  if (Count(shown) > 0) {
    const Center seen = CenterOf(shown), meant = CenterOf(expected);
    offset = std::hypot(seen.x - meant.x, seen.y - meant.y) / kGrid * 2 * kReach * placed.radius;
  }
  return area > .55 && area < 1.8 && offset < .05 + .15 * placed.radius;
}

bool BackgroundHolds(const View& view) {
  int64_t free = 0, right = 0;
  for (int row = 0; row < view.size(); ++row) {
    for (int column = 0; column < view.size(); ++column) {
      const bool near = std::any_of(view.objects().begin(), view.objects().end(), [&](const PlacedObject& placed) {
        return std::hypot(view.At(column) - placed.x, view.At(row) - placed.y) <= 1.3 * placed.radius + .03;
      });
      if (near) continue;
      ++free;
      right += view.OwnerAt(row, column) == kBackground;
    }
  }
  return free == 0 || static_cast<double>(right) / static_cast<double>(free) > .9;
}

struct Kind {
  const char* name;
  std::set<std::string_view> relations;
};

std::string TableRow(const std::string& name, const std::vector<ScoredScene>& scored) {
  const auto share = [&](bool (*holds)(const Score&)) { return Percent(scored, holds); };
  return fmt::format("{:<10}{:>7.1f}%{:>7.1f}%{:>7.1f}%{:>11.1f}%{:>10.1f}%{:>7.1f}%  ({})\n", name,
                     share([](const Score& s) { return s.color; }), share([](const Score& s) { return s.place; }),
                     share([](const Score& s) { return s.shape; }), share([](const Score& s) { return s.background; }),
                     share([](const Score& s) { return s.satisfied(); }),
                     share([](const Score& s) { return s.strict(); }), scored.size());
}

}  // namespace

Score ScorePicture(const Picture& picture, const Scene& scene) {
  const View view(picture, scene);
  const std::vector<PlacedObject>& objects = view.objects();
  const bool inside = scene.relation == "inside";
  Score score;
  for (size_t i = 0; i < objects.size(); ++i) {
    const PlacedObject& placed = objects[i];
    const double hole = inside && i == 0 ? objects[1].radius * 1.25 : -1;
    score.color &= ColorHolds(view, placed, hole);
    const GridMask shown = Foreground(view, placed, inside && i == 1 ? 0 : kBackground);
    score.shape &= ShapeHolds(shown, placed.object.shape);
    score.place &= PlaceHolds(shown, placed);
  }
  score.background = BackgroundHolds(view);
  return score;
}

double Percent(const std::vector<ScoredScene>& scored, bool (*holds)(const Score&)) {
  const auto right = std::count_if(scored.begin(), scored.end(), [&](const ScoredScene& s) { return holds(s.score); });
  return scored.empty() ? 0 : 100.0 * static_cast<double>(right) / static_cast<double>(scored.size());
}

std::string ScoreTable(const std::vector<ScoredScene>& scored) {
  const std::array<Kind, 5> kinds = {{{"1 object", {"single"}},
                                      {"2 objects", {"left", "right", "above", "below", "and"}},
                                      {"inside", {"inside"}},
                                      {"counts", {"count"}},
                                      {"3 objects", {"row", "tri"}}}};
  std::string table = fmt::format("{:<10}{:>8}{:>8}{:>8}{:>12}{:>11}{:>8}\n", "", "color", "place", "shape",
                                  "background", "satisfied", "strict");
  table += TableRow("all", scored);
  for (const Kind& kind : kinds) {
    std::vector<ScoredScene> part;
    std::copy_if(scored.begin(), scored.end(), std::back_inserter(part),
                 [&](const ScoredScene& s) { return kind.relations.contains(s.scene.relation); });
    if (!part.empty()) table += TableRow(kind.name, part);
  }
  return table;
}

}  // namespace tessera::demo
