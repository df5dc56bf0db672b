#include "media/drawing.h"

#include <algorithm>

#include "media/font.h"

namespace tessera {
namespace {

// The part of a rectangle that lies in the picture.
struct Clip {
  int64_t top, left, bottom, right;
};

Clip ClipOf(const Picture& picture, const Rectangle& rectangle) {
  return {std::max<int64_t>(rectangle.place.top, 0), std::max<int64_t>(rectangle.place.left, 0),
          std::min(rectangle.place.top + rectangle.height, picture.height),
          std::min(rectangle.place.left + rectangle.width, picture.width)};
}

bool StartsCharacter(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

int64_t Characters(std::string_view text) { return std::count_if(text.begin(), text.end(), StartsCharacter); }

void DrawGlyph(Picture& picture, Place place, char character, const TextStyle& style) {
  const auto rows = GlyphOf(character);
  for (int y = 0; y < kGlyphHeight; ++y) {
    for (int x = 0; x < kGlyphWidth; ++x) {
      if ((rows[static_cast<size_t>(y)] >> (kGlyphWidth - 1 - x) & 1) == 0) continue;
      const Place dot{place.top + int64_t{y} * style.scale, place.left + int64_t{x} * style.scale};
      FillRectangle(picture, {dot, style.scale, style.scale}, style.colour);
    }
  }
}

}  // namespace

Picture FilledPicture(int64_t height, int64_t width, Colour colour) {
  Picture picture{height, width, std::vector<uint8_t>(static_cast<size_t>(height * width * 3))};
  FillRectangle(picture, {{0, 0}, height, width}, colour);
  return picture;
}

void FillRectangle(Picture& picture, const Rectangle& rectangle, Colour colour) {
  const Clip clip = ClipOf(picture, rectangle);
  for (int64_t y = clip.top; y < clip.bottom; ++y) {
    for (int64_t x = clip.left; x < clip.right; ++x) {
      uint8_t* pixel = picture.rgb.data() + (y * picture.width + x) * 3;
      pixel[0] = colour.red;
      pixel[1] = colour.green;
      pixel[2] = colour.blue;
    }
  }
}

void Paste(Picture& picture, Place place, const Picture& part) {
  const Clip clip = ClipOf(picture, {place, part.height, part.width});
  for (int64_t y = clip.top; y < clip.bottom && clip.left < clip.right; ++y) {
    const uint8_t* from = part.rgb.data() + ((y - place.top) * part.width + clip.left - place.left) * 3;
    std::copy_n(from, (clip.right - clip.left) * 3, picture.rgb.data() + (y * picture.width + clip.left) * 3);
  }
}

void DrawText(Picture& picture, Place place, std::string_view text, TextStyle style) {
  for (const char byte : text) {
    if (!StartsCharacter(byte)) continue;
    DrawGlyph(picture, place, byte, style);
    place.left += int64_t{kGlyphAdvance} * style.scale;
  }
}

int64_t TextWidth(std::string_view text, int scale) { return Characters(text) * kGlyphAdvance * scale; }

int64_t TextHeight(int scale) { return int64_t{kGlyphHeight} * scale; }

std::string CutToWidth(std::string_view text, int64_t width, int scale) {
  if (TextWidth(text, scale) <= width) return std::string(text);
  const int64_t fits = std::max<int64_t>(width / (kGlyphAdvance * scale) - 2, 0);
  std::string cut;
  int64_t count = 0;
  for (const char byte : text) {
    if (StartsCharacter(byte) && ++count > fits) break;
    cut += byte;
  }
  return cut + "..";
}

}  // namespace tessera
