#include <fmt/format.h>
#include <gtest/gtest.h>

#include "media/golden_pictures.h"
#include "media/picture.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

struct Case {
  Resample filter;
  const char* name;
};
constexpr Case kCases[] = {
    {Resample::kLanczos, "lanczos"}, {Resample::kBicubic, "bicubic"}, {Resample::kBilinear, "bilinear"}};

TEST(Resize, MatchesPilByteForByte) {
  const Picture source = ReadPicture(GoldenPicture("source.png"));
  int compared = 0;
  for (const Case& filter : kCases) {
    for (const auto& [height, width] :
         {std::pair{16, 16}, {37, 20}, {80, 53}, {64, 96}, {5, 3}, {1, 1}, {36, 54}, {17, 44}, {19, 44}}) {
      const std::string name = fmt::format("resize_{}_{}x{}.png", filter.name, height, width);
      const Picture expected = ReadPicture(GoldenPicture(name));
      const Picture resized = Resize(source, height, width, filter.filter);
      ASSERT_EQ(resized.height, height);
      ASSERT_EQ(resized.width, width);
      EXPECT_EQ(resized.rgb, expected.rgb) << name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 27);
}

TEST(Resize, TheSameSizeIsTheSamePicture) {
  const Picture source = ReadPicture(GoldenPicture("source.png"));
  EXPECT_EQ(Resize(source, source.height, source.width, Resample::kLanczos).rgb, source.rgb);
}

TEST(Resize, IsTheSameForAnyNumberOfThreads) {
  const Picture source = ReadPicture(GoldenPicture("source.png"));
  SetThreads(1);
  const Picture one = Resize(source, 100, 90, Resample::kBicubic);
  SetThreads(3);
  EXPECT_EQ(Resize(source, 100, 90, Resample::kBicubic).rgb, one.rgb);
  SetThreads(0);
}

TEST(Crop, TakesThePart) {
  Picture picture{3, 4, {}};
  for (uint8_t i = 0; i < 36; ++i) picture.rgb.push_back(i);
  const Picture part = Crop(picture, 1, 2, 2, 1);
  EXPECT_EQ(part.height, 2);
  EXPECT_EQ(part.width, 1);
  EXPECT_EQ(part.rgb, (std::vector<uint8_t>{18, 19, 20, 30, 31, 32}));
}

}  // namespace
}  // namespace tessera
