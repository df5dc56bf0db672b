// The shapes of the demo model's world as signed distance fields: negative inside, in units of the object's radius.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::demo {

using Distance = std::function<double(double x, double y)>;  // y points down

enum class Role { kMain, kDark, kTrunk, kCore, kEye };

struct Part {
  Distance distance;
  Role role;
};

std::span<const std::string_view> ShapeNames();
// Parts in drawing order.
const std::vector<Part>& PartsOf(std::string_view shape);
// Distance to the union of all parts.
double SilhouetteDistance(std::string_view shape, double x, double y);

}  // namespace tessera::demo
