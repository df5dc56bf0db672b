// The demo model's world: captions read back to scenes. Follows tools/demo_model/scenes.py; letters and digits are left
// out.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::demo {

struct Color {
  float red, green, blue;
  float Mean() const noexcept { return (red + green + blue) / 3.0f; }
};

struct NamedColor {
  std::string_view name;
  Color color;
};
const std::vector<NamedColor>& Palette();
Color ColorOf(std::string_view name);

enum class Size { kSmall, kMedium, kBig };
enum class Pattern { kSolid, kStriped, kDotted };

struct Object {
  std::string shape, color;
  Size size = Size::kMedium;
  Pattern pattern = Pattern::kSolid;
};

struct Scene {
  std::string relation;  // single, count, left, right, above, below, inside, and, row, tri
  std::vector<Object> objects;
  std::string position;                 // only for single; "" is the centre
  int count = 1;                        // only for count
  std::vector<std::string> background;  // none: white, one: plain, two: from top to bottom
};

// The scene a caption asks for, or nothing when it is outside the grammar.
std::optional<Scene> ParseCaption(const std::string& caption);

struct PlacedObject {
  Object object;
  double x, y, radius;  // in units of the picture's side
};

// Where a viewer of the caption expects the objects; for "inside" the outer one comes first.
std::vector<PlacedObject> ExpectedLayout(const Scene& scene);

}  // namespace tessera::demo
