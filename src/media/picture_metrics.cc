#include "media/picture_metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <span>
#include <vector>

#include "base/check.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr int kWindow = 11;
constexpr double kSigma = 1.5;
constexpr double kC1 = (0.01 * 255) * (0.01 * 255), kC2 = (0.03 * 255) * (0.03 * 255);
constexpr int kMoments = 5;  // x, y, x^2, y^2, x y

void CheckSizes(const Picture& a, const Picture& b) {
  TESSERA_CHECK(a.height == b.height && a.width == b.width && a.rgb.size() == b.rgb.size() && !a.rgb.empty());
}

// Weights of a window of `size` pixels, with sum 1.
std::vector<double> Gaussian(int64_t size) {
  std::vector<double> weights(static_cast<size_t>(size));
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double x = static_cast<double>(i) - static_cast<double>(size - 1) / 2;
    weights[i] = std::exp(-x * x / (2 * kSigma * kSigma));
    sum += weights[i];
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

struct Channel {
  const Picture& x;
  const Picture& y;
  int64_t index;
};

// The five moments of every window of one row of pixels, weighted along the row: [columns][kMoments].
void AlongRow(const Channel& channel, int64_t row, std::span<const double> weights, double* moments) {
  const int64_t columns = channel.x.width - static_cast<int64_t>(weights.size()) + 1;
  for (int64_t column = 0; column < columns; ++column, moments += kMoments) {
    std::fill_n(moments, kMoments, 0.0);
    for (size_t i = 0; i < weights.size(); ++i) {
      const auto at =
          static_cast<size_t>((row * channel.x.width + column + static_cast<int64_t>(i)) * 3 + channel.index);
      const auto x = static_cast<double>(channel.x.rgb[at]), y = static_cast<double>(channel.y.rgb[at]);
      const double products[kMoments] = {x, y, x * x, y * y, x * y};
      for (int m = 0; m < kMoments; ++m) moments[m] += weights[i] * products[m];
    }
  }
}

double SimilarityOf(const std::array<double, kMoments>& mean) {
  const auto [x, y, xx, yy, xy] = mean;
  const double variance_x = xx - x * x, variance_y = yy - y * y, covariance = xy - x * y;
  return (2 * x * y + kC1) * (2 * covariance + kC2) / ((x * x + y * y + kC1) * (variance_x + variance_y + kC2));
}

// Sum over the windows whose first row is `row`; `rows` holds AlongRow of all rows.
double SumOfRow(std::span<const double> rows, int64_t row, int64_t columns, std::span<const double> weights) {
  double sum = 0;
  for (int64_t column = 0; column < columns; ++column) {
    std::array<double, kMoments> mean{};
    for (size_t i = 0; i < weights.size(); ++i) {
      const double* moments = rows.data() + ((row + static_cast<int64_t>(i)) * columns + column) * kMoments;
      for (size_t m = 0; m < kMoments; ++m) mean[m] += weights[i] * moments[m];
    }
    sum += SimilarityOf(mean);
  }
  return sum;
}

double SsimOfChannel(const Channel& channel) {
  const auto across = Gaussian(std::min<int64_t>(kWindow, channel.x.width));
  const auto down = Gaussian(std::min<int64_t>(kWindow, channel.x.height));
  const int64_t columns = channel.x.width - static_cast<int64_t>(across.size()) + 1;
  const int64_t windows = channel.x.height - static_cast<int64_t>(down.size()) + 1;
  std::vector<double> rows(static_cast<size_t>(channel.x.height * columns * kMoments));
  ParallelFor(channel.x.height, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      AlongRow(channel, row, across, rows.data() + row * columns * kMoments);
    }
  });
  std::vector<double> sums(static_cast<size_t>(windows));
  ParallelFor(windows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) sums[static_cast<size_t>(row)] = SumOfRow(rows, row, columns, down);
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum / static_cast<double>(windows * columns);
}

}  // namespace

double Psnr(const Picture& picture, const Picture& reference) {
  CheckSizes(picture, reference);
  double squared = 0;
  for (size_t i = 0; i < picture.rgb.size(); ++i) {
    const double difference = static_cast<double>(picture.rgb[i]) - static_cast<double>(reference.rgb[i]);
    squared += difference * difference;
  }
  if (squared == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(255.0 * 255.0 * static_cast<double>(picture.rgb.size()) / squared);
}

double Ssim(const Picture& picture, const Picture& reference) {
  CheckSizes(picture, reference);
  double sum = 0;
  for (int64_t channel = 0; channel < 3; ++channel) sum += SsimOfChannel({picture, reference, channel});
  return sum / 3;
}

Picture DifferencePicture(const Picture& picture, const Picture& reference, int gain) {
  CheckSizes(picture, reference);
  Picture difference = picture;
  for (size_t i = 0; i < picture.rgb.size(); ++i) {
    difference.rgb[i] = static_cast<uint8_t>(
        std::min(std::abs(static_cast<int>(picture.rgb[i]) - static_cast<int>(reference.rgb[i])) * gain, 255));
  }
  return difference;
}

}  // namespace tessera
