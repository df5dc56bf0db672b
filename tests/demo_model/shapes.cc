#include "demo_model/shapes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <stdexcept>
#include <utility>

namespace tessera::demo {
namespace {

constexpr std::array<std::string_view, 15> kShapes = {"circle",  "square", "triangle", "star",     "ring",
                                                      "heart",   "cross",  "hexagon",  "crescent", "arrow",
                                                      "diamond", "house",  "tree",     "flower",   "fish"};

using Points = std::vector<std::pair<float, float>>;

// Squared distance from (x, y) to the edge a-b. Corners and edges are floats, as in the drawing they are compared with.
double SquaredDistance(std::pair<float, float> a, std::pair<float, float> b, double x, double y) {
  const float ex = b.first - a.first, ey = b.second - a.second;
  const double wx = x - a.first, wy = y - a.second;
  const double t = std::clamp((wx * ex + wy * ey) / (ex * ex + ey * ey), 0.0, 1.0);
  const double dx = wx - ex * t, dy = wy - ey * t;
  return dx * dx + dy * dy;
}

Distance Polygon(Points points) {
  return [points = std::move(points)](double x, double y) {
    double squared = std::numeric_limits<double>::max();
    bool inside = false;
    for (size_t i = 0; i < points.size(); ++i) {
      const auto a = points[i], b = points[(i + 1) % points.size()];
      squared = std::min(squared, SquaredDistance(a, b, x, y));
      const float ex = b.first - a.first, ey = b.second - a.second;
      if (ey != 0 && (a.second > y) != (b.second > y) && x < ex * (y - a.second) / ey + a.first) inside = !inside;
    }
    return inside ? -std::sqrt(squared) : std::sqrt(squared);
  };
}

Distance Box(double cx, double cy, double hx, double hy) {
  return [=](double x, double y) { return std::max(std::abs(x - cx) - hx, std::abs(y - cy) - hy); };
}

Distance Disc(double cx, double cy, double r) {
  return [=](double x, double y) { return std::sqrt((x - cx) * (x - cx) + (y - cy) * (y - cy)) - r; };
}

Distance Union(std::vector<Distance> parts) {
  return [parts = std::move(parts)](double x, double y) {
    double least = parts.front()(x, y);
    for (const Distance& part : parts) least = std::min(least, part(x, y));
    return least;
  };
}

Distance Minus(Distance a, Distance b) {
  return [a = std::move(a), b = std::move(b)](double x, double y) { return std::max(a(x, y), -b(x, y)); };
}

Distance Ring(double r, double w) {
  return [=](double x, double y) { return std::abs(std::sqrt(x * x + y * y) - r) - w; };
}

Distance Hexagon(double r) {
  return [=](double x, double y) {
    return std::max(std::abs(y), std::abs(x) * .8660254 + std::abs(y) * .5) - r * .8660254;
  };
}

Distance Rhombus(double a, double b) {
  return [=](double x, double y) { return (std::abs(x) * b + std::abs(y) * a - a * b) / std::hypot(a, b); };
}

Distance Ellipse(double cx, double cy, double a, double b) {
  return [=](double x, double y) {
    const double u = (x - cx) / a, v = (y - cy) / b;
    return (std::sqrt(u * u + v * v) - 1) * std::min(a, b);
  };
}

Points StarPoints() {
  Points points;
  for (int i = 0; i < 10; ++i) {
    const double angle = i * std::numbers::pi / 5, length = i % 2 == 0 ? 1.0 : .42;
    points.emplace_back(static_cast<float>(std::sin(angle) * length),
                        static_cast<float>(-std::cos(angle) * length + .05));
  }
  return points;
}

Distance Petals() {
  std::vector<Distance> petals;
  for (int k = 0; k < 6; ++k) {
    petals.push_back(Disc(.6 * std::cos(k * std::numbers::pi / 3), .6 * std::sin(k * std::numbers::pi / 3), .36));
  }
  return Union(std::move(petals));
}

Distance Heart() {
  const Points tip = {{-.83f, -.04f}, {0.f, -.42f}, {.83f, -.04f}, {0.f, .92f}};
  return Union({Disc(-.44, -.34, .5), Disc(.44, -.34, .5), Polygon(tip)});
}

std::vector<Part> House() {
  return {{Box(0, .38, .68, .54), Role::kMain},
          {Polygon({{0.f, -.95f}, {.95f, -.12f}, {-.95f, -.12f}}), Role::kDark},
          {Box(0, .58, .2, .34), Role::kDark}};
}

std::vector<Part> Tree() {
  return {{Box(0, .62, .15, .33), Role::kTrunk},
          {Union({Disc(-.4, .02, .42), Disc(.4, .02, .42), Disc(0, -.4, .52)}), Role::kMain}};
}

std::vector<Part> Fish() {
  const Points tail = {{-.3f, 0.f}, {-.95f, -.55f}, {-.95f, .55f}};
  return {{Union({Ellipse(.15, 0, .8, .52), Polygon(tail)}), Role::kMain}, {Disc(.55, -.12, .1), Role::kEye}};
}

using Shapes = std::map<std::string_view, std::vector<Part>>;

Shapes MakeShapes() {
  const auto plain = [](Distance distance) { return std::vector<Part>{{std::move(distance), Role::kMain}}; };
  const Points arrow_head = {{.1f, -.72f}, {.98f, 0.f}, {.1f, .72f}};
  return {{"circle", plain(Disc(0, 0, .95))},
          {"square", plain(Box(0, 0, .84, .84))},
          {"triangle", plain(Polygon({{0.f, -.92f}, {.98f, .8f}, {-.98f, .8f}}))},
          {"star", plain(Polygon(StarPoints()))},
          {"ring", plain(Ring(.68, .26))},
          {"heart", plain(Heart())},
          {"cross", plain(Union({Box(0, 0, .93, .31), Box(0, 0, .31, .93)}))},
          {"hexagon", plain(Hexagon(.98))},
          {"crescent", plain(Minus(Disc(0, 0, .95), Disc(.42, -.05, .75)))},
          {"arrow", plain(Union({Box(-.36, 0, .58, .24), Polygon(arrow_head)}))},
          {"diamond", plain(Rhombus(.68, .98))},
          {"house", House()},
          {"tree", Tree()},
          {"flower", {{Petals(), Role::kMain}, {Disc(0, 0, .33), Role::kCore}}},
          {"fish", Fish()}};
}

}  // namespace

std::span<const std::string_view> ShapeNames() { return kShapes; }

const std::vector<Part>& PartsOf(std::string_view shape) {
  static const Shapes shapes = MakeShapes();
  const auto found = shapes.find(shape);
  if (found == shapes.end()) throw std::logic_error("no shape " + std::string(shape));
  return found->second;
}

double SilhouetteDistance(std::string_view shape, double x, double y) {
  double least = std::numeric_limits<double>::max();
  for (const Part& part : PartsOf(shape)) least = std::min(least, part.distance(x, y));
  return least;
}

}  // namespace tessera::demo
