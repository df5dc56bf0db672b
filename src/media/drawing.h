// Drawing into pictures: rectangles, other pictures and text. What lies outside is cut off.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "media/picture.h"

namespace tessera {

struct Colour {
  uint8_t red = 0, green = 0, blue = 0;
};
inline constexpr Colour kWhite{255, 255, 255}, kBlack{0, 0, 0}, kGrey{128, 128, 128}, kPaleGrey{225, 225, 225};

struct Place {
  int64_t top = 0, left = 0;
};

struct Rectangle {
  Place place;
  int64_t height = 0, width = 0;
};

Picture FilledPicture(int64_t height, int64_t width, Colour colour);
void FillRectangle(Picture& picture, const Rectangle& rectangle, Colour colour);
void Paste(Picture& picture, Place place, const Picture& part);

struct TextStyle {
  Colour colour = kBlack;
  int scale = 1;  // pixels per pixel of the font
};

// One line whose top left corner is `place`. UTF-8: a character beyond ASCII is drawn as one box.
void DrawText(Picture& picture, Place place, std::string_view text, TextStyle style = {});
int64_t TextWidth(std::string_view text, int scale = 1);
int64_t TextHeight(int scale = 1);
// `text`, cut with ".." at the end when it is wider than `width` pixels.
std::string CutToWidth(std::string_view text, int64_t width, int scale = 1);

}  // namespace tessera
