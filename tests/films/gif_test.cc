#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "films/noise.h"
#include "media/gif_lzw.h"
#include "media/gif_palette.h"

namespace tessera {
namespace {

// The decoder of appendix F, strict: every code must be known, the end code must be there and nothing behind it.
std::vector<uint8_t> DecodeLzw(const std::string& block) {
  const int bits = block[0];
  std::string packed;
  size_t at = 1;
  for (; block[at] != 0; at += static_cast<unsigned char>(block[at]) + size_t{1}) {
    packed += block.substr(at + 1, static_cast<unsigned char>(block[at]));
  }
  EXPECT_EQ(at + 1, block.size());
  const size_t clear = size_t{1} << bits;
  std::vector<std::vector<uint8_t>> strings;
  std::vector<uint8_t> pixels, before;
  size_t bit = 0, code_bits = static_cast<size_t>(bits) + 1;
  while (bit + code_bits <= packed.size() * 8) {
    size_t code = 0;
    for (size_t i = 0; i < code_bits; ++i, ++bit) code |= size_t(packed[bit / 8] >> (bit % 8) & 1) << i;
    if (code == clear + 1) {
      EXPECT_LT(packed.size() * 8 - bit, 8u);
      return pixels;
    }
    if (code == clear) {
      strings.clear();
      for (size_t i = 0; i < clear + 2; ++i) strings.push_back({static_cast<uint8_t>(i)});
      code_bits = static_cast<size_t>(bits) + 1;
      before.clear();
      continue;
    }
    if (!before.empty() && strings.size() < 4096) {
      EXPECT_LE(code, strings.size());
      if (code > strings.size()) return {};
      before.push_back(code < strings.size() ? strings[code][0] : before[0]);
      strings.push_back(before);
      if (strings.size() == size_t{1} << code_bits && code_bits < 12) ++code_bits;
    }
    EXPECT_LT(code, strings.size());
    if (code >= strings.size()) return {};
    before = strings[code];
    pixels.insert(pixels.end(), before.begin(), before.end());
  }
  ADD_FAILURE() << "no end code";
  return pixels;
}

std::vector<uint8_t> ThereAndBack(const std::vector<uint8_t>& pixels, int bits) {
  std::string block;
  AppendLzw(block, pixels, bits);
  return DecodeLzw(block);
}

TEST(GifLzw, NoiseOfEveryLengthComesBack) {
  for (const int bits : {2, 3, 8}) {
    for (size_t length = 1; length < 700; ++length) {
      const std::vector<uint8_t> pixels = Noise(length, 1 << bits);
      ASSERT_EQ(ThereAndBack(pixels, bits), pixels) << length << " pixels of " << bits << " bits";
    }
  }
}

TEST(GifLzw, MoreStringsThanCodesComeBack) {
  for (const int bits : {2, 5, 8}) {
    const std::vector<uint8_t> pixels = Noise(60000, 1 << bits);
    EXPECT_EQ(ThereAndBack(pixels, bits), pixels);
  }
}

TEST(GifLzw, OneColourBecomesSmall) {
  const std::vector<uint8_t> pixels(100000, 3);
  std::string block;
  AppendLzw(block, pixels, 2);
  EXPECT_LT(block.size(), 1000u);
  EXPECT_EQ(DecodeLzw(block), pixels);
}

Picture FromPalette(const IndexedPicture& indexed, int64_t height, int64_t width) {
  Picture picture{height, width, {}};
  for (const uint8_t place : indexed.pixels) {
    picture.rgb.insert(picture.rgb.end(), indexed.palette[place].begin(), indexed.palette[place].end());
  }
  return picture;
}

TEST(GifPalette, FewColoursComeBackExactly) {
  Picture picture{16, 16, {}};
  for (int i = 0; i < 256; ++i) {
    for (const int value : {i, 255 - i, i / 2}) picture.rgb.push_back(static_cast<uint8_t>(value));
  }
  EXPECT_EQ(FromPalette(ReduceColours(picture, 256), 16, 16).rgb, picture.rgb);
}

TEST(GifPalette, TakesNoMoreColoursThanAsked) {
  const Picture picture{50, 50, Noise(7500, 256)};
  for (const int colours : {2, 7, 256}) {
    const IndexedPicture indexed = ReduceColours(picture, colours);
    EXPECT_EQ(indexed.palette.size(), static_cast<size_t>(colours));
    for (const uint8_t place : indexed.pixels) ASSERT_LT(place, indexed.palette.size());
  }
}

TEST(GifPalette, KeepsTheMeanColour) {
  Picture picture{64, 64, {}};
  std::array<double, 3> mean{}, kept{};
  for (int i = 0; i < 64 * 64; ++i) {
    for (const int value : {i % 64 * 2 + 60, i / 64 * 2 + 60, (i % 64 + i / 64) + 60}) {
      picture.rgb.push_back(static_cast<uint8_t>(value));
    }
  }
  const Picture reduced = FromPalette(ReduceColours(picture, 16), 64, 64);
  for (size_t i = 0; i < picture.rgb.size(); ++i) {
    mean[i % 3] += picture.rgb[i] / 4096.0;
    kept[i % 3] += reduced.rgb[i] / 4096.0;
  }
  for (size_t axis = 0; axis < 3; ++axis) EXPECT_NEAR(kept[axis], mean[axis], 1);
}

}  // namespace
}  // namespace tessera
