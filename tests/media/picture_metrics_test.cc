#include "media/picture_metrics.h"

#include <array>
#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "media/drawing.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

Picture Grey(int64_t height, int64_t width, uint8_t value) {
  return FilledPicture(height, width, {value, value, value});
}

Picture Noise(int64_t height, int64_t width, uint32_t seed) {
  Picture picture = Grey(height, width, 0);
  std::minstd_rand random(seed);
  for (uint8_t& value : picture.rgb) value = static_cast<uint8_t>(random() >> 8);
  return picture;
}

TEST(Psnr, OfADifferenceOfOneEverywhere) {
  EXPECT_NEAR(Psnr(Grey(4, 5, 10), Grey(4, 5, 11)), 48.130803608679, 1e-9);  // 20 log10(255)
}

TEST(Psnr, OfOneWrongChannel) {
  Picture picture = Grey(2, 2, 0);
  picture.rgb[5] = 255;
  EXPECT_NEAR(Psnr(picture, Grey(2, 2, 0)), 10 * std::log10(12.0), 1e-12);
}

TEST(Psnr, OfEqualPicturesIsInfinite) { EXPECT_TRUE(std::isinf(Psnr(Grey(3, 3, 7), Grey(3, 3, 7)))); }

TEST(Ssim, OfEqualPicturesIsOne) {
  const Picture picture = Noise(20, 17, 3);
  EXPECT_DOUBLE_EQ(Ssim(picture, picture), 1);
}

// Without variance the second factor is 1.
TEST(Ssim, OfFlatPicturesComparesTheirMeans) {
  const double c1 = 2.55 * 2.55;
  EXPECT_NEAR(Ssim(Grey(16, 16, 100), Grey(16, 16, 120)), (2 * 100 * 120 + c1) / (100.0 * 100 + 120.0 * 120 + c1),
              1e-9);
}

// The definition in four plain loops.
double PlainSsim(const Picture& a, const Picture& b) {
  std::array<std::array<double, 11>, 11> weights;
  double total = 0;
  for (int i = 0; i < 11; ++i) {
    for (int j = 0; j < 11; ++j) {
      weights[i][j] = std::exp(-((i - 5) * (i - 5) + (j - 5) * (j - 5)) / (2 * 1.5 * 1.5));
      total += weights[i][j];
    }
  }
  double sum = 0;
  int64_t windows = 0;
  for (int64_t top = 0; top + 11 <= a.height; ++top) {
    for (int64_t left = 0; left + 11 <= a.width; ++left) {
      for (int64_t channel = 0; channel < 3; ++channel, ++windows) {
        const auto value = [&](const Picture& picture, int i, int j) {
          return static_cast<double>(picture.rgb[static_cast<size_t>(((top + i) * a.width + left + j) * 3 + channel)]);
        };
        double mean_a = 0, mean_b = 0, variance_a = 0, variance_b = 0, covariance = 0;
        for (int i = 0; i < 11; ++i) {
          for (int j = 0; j < 11; ++j) {
            mean_a += weights[i][j] / total * value(a, i, j);
            mean_b += weights[i][j] / total * value(b, i, j);
          }
        }
        for (int i = 0; i < 11; ++i) {
          for (int j = 0; j < 11; ++j) {
            const double x = value(a, i, j) - mean_a, y = value(b, i, j) - mean_b;
            variance_a += weights[i][j] / total * x * x;
            variance_b += weights[i][j] / total * y * y;
            covariance += weights[i][j] / total * x * y;
          }
        }
        const double c1 = 2.55 * 2.55, c2 = 7.65 * 7.65;
        sum += (2 * mean_a * mean_b + c1) * (2 * covariance + c2) /
               ((mean_a * mean_a + mean_b * mean_b + c1) * (variance_a + variance_b + c2));
      }
    }
  }
  return sum / static_cast<double>(windows);
}

TEST(Ssim, FollowsItsDefinition) {
  const Picture a = Noise(14, 19, 1);
  Picture b = a;
  for (size_t i = 0; i < b.rgb.size(); i += 3) b.rgb[i] = static_cast<uint8_t>(b.rgb[i] / 2 + 30);
  EXPECT_NEAR(Ssim(a, b), PlainSsim(a, b), 1e-9);
  EXPECT_NEAR(Ssim(a, Noise(14, 19, 2)), PlainSsim(a, Noise(14, 19, 2)), 1e-9);
}

TEST(Ssim, TakesPicturesSmallerThanAWindow) {
  EXPECT_DOUBLE_EQ(Ssim(Grey(3, 40, 9), Grey(3, 40, 9)), 1);
  EXPECT_LT(Ssim(Noise(1, 1, 1), Noise(1, 1, 2)), 1);
}

TEST(Ssim, DoesNotDependOnThreads) {
  const Picture a = Noise(40, 30, 1), b = Noise(40, 30, 2);
  SetThreads(1);
  const double one = Ssim(a, b);
  SetThreads(3);
  EXPECT_EQ(Ssim(a, b), one);
  SetThreads(0);
}

TEST(DifferencePicture, IsAmplifiedAndCutOff) {
  const Picture difference = DifferencePicture(Grey(1, 1, 10), FilledPicture(1, 1, {12, 10, 90}), 4);
  EXPECT_EQ(difference.rgb, (std::vector<uint8_t>{8, 0, 255}));
}

}  // namespace
}  // namespace tessera
