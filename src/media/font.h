// A bitmap font for labels in pictures: printable ASCII, five by nine pixels.
#pragma once
#include <cstdint>
#include <span>

namespace tessera {

constexpr int kGlyphWidth = 5;
constexpr int kGlyphHeight = 9;  // seven above the line, two below
constexpr int kGlyphAdvance = 6;

// Rows from the top; bit 4 is the leftmost pixel. A box for what the font does not have.
std::span<const uint8_t, kGlyphHeight> GlyphOf(char character) noexcept;

}  // namespace tessera
