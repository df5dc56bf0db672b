#include "media/drawing.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "media/bar_chart.h"
#include "media/font.h"

namespace tessera {
namespace {

// '#' for dark pixels.
std::string Show(const Picture& picture) {
  std::string text;
  for (int64_t y = 0; y < picture.height; ++y) {
    for (int64_t x = 0; x < picture.width; ++x) {
      text += picture.rgb[static_cast<size_t>((y * picture.width + x) * 3)] < 128 ? '#' : '.';
    }
    text += '\n';
  }
  return text;
}

int64_t Dark(const Picture& picture) {
  const std::string text = Show(picture);
  return std::count(text.begin(), text.end(), '#');
}

TEST(Font, GivesEveryCharacterItsOwnShape) {
  std::set<std::string> shapes;
  for (char c = 32; c < 127; ++c) shapes.insert({GlyphOf(c).begin(), GlyphOf(c).end()});
  EXPECT_EQ(shapes.size(), 95u);
}

TEST(Drawing, WritesText) {
  Picture picture = FilledPicture(9, 12, kWhite);
  DrawText(picture, {0, 0}, "Tp");
  EXPECT_EQ(Show(picture),
            "#####.......\n"
            "..#.........\n"
            "..#...####..\n"
            "..#...#...#.\n"
            "..#...#...#.\n"
            "..#...#...#.\n"
            "..#...####..\n"
            "......#.....\n"
            "......#.....\n");
}

TEST(Drawing, ScalesText) {
  Picture small = FilledPicture(9, 6, kWhite), large = FilledPicture(27, 18, kWhite);
  DrawText(small, {0, 0}, "R");
  DrawText(large, {0, 0}, "R", {kBlack, 3});
  EXPECT_EQ(Dark(large), 9 * Dark(small));
}

TEST(Drawing, CutsOffWhatLiesOutside) {
  Picture picture = FilledPicture(4, 4, kWhite);
  DrawText(picture, {-3, -2}, "MMMM");
  DrawText(picture, {100, 100}, "M");
  FillRectangle(picture, {{2, 2}, 50, 50}, kBlack);
  FillRectangle(picture, {{-10, -10}, 3, 3}, kBlack);
  Paste(picture, {3, -1}, FilledPicture(5, 2, kBlack));
  Paste(picture, {0, -9}, FilledPicture(5, 2, kBlack));
  EXPECT_EQ(Show(picture).substr(10, 4), "..##");
  EXPECT_EQ(Show(picture).substr(15, 4), "#.##");
}

TEST(Drawing, CountsCharactersAndNotBytes) {
  EXPECT_EQ(TextWidth("a\xC3\xA4"), 2 * kGlyphAdvance);
  Picture picture = FilledPicture(9, 18, kWhite);
  DrawText(picture, {0, 0}, "\xC3\xA4");
  EXPECT_EQ(Dark(picture), 20);  // the box
}

TEST(Drawing, CutsTextToAWidth) {
  EXPECT_EQ(CutToWidth("sliding", 42), "sliding");
  EXPECT_EQ(CutToWidth("sliding", 36), "slid..");
  EXPECT_EQ(CutToWidth("\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4", 18), "\xC3\xA4..");
}

TEST(BarChart, DrawsTheLongestBarForTheLargestValue) {
  const Picture one = DrawBarCharts({{"t", {{"a", 1, "1"}, {"b", 2, "2"}}}});
  const auto row_length = [&](int64_t row) {
    int64_t count = 0;
    for (int64_t x = 0; x < one.width; ++x) {
      const uint8_t* pixel = one.rgb.data() + (row * one.width + x) * 3;
      count += pixel[0] != pixel[1] || pixel[1] != pixel[2] ? 1 : 0;
    }
    return count;
  };
  std::vector<int64_t> lengths;
  for (int64_t row = 0; row < one.height; ++row) {
    if (row_length(row) > 0 && (lengths.empty() || lengths.back() != row_length(row)))
      lengths.push_back(row_length(row));
  }
  EXPECT_EQ(lengths, (std::vector<int64_t>{300, 600}));
}

TEST(BarChart, TakesNoBarsAndZeroes) {
  EXPECT_GT(DrawBarCharts({}).height, 0);
  EXPECT_GT(DrawBarCharts({{"t", {{"a", 0, "0"}}}}).width, 600);
}

}  // namespace
}  // namespace tessera
