#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

#include "base/check.h"
#include "media/picture.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

// 8 bits of result and 2 for negative lobes and overshoot leave 22 of 32 for the weights.
constexpr int kWeightBits = 32 - 8 - 2;
constexpr int64_t kRowsPerTask = 16;

double Bilinear(double x) {
  x = std::fabs(x);
  return x < 1 ? 1 - x : 0;
}

// Keys' cubic convolution with a = -0.5.
double Bicubic(double x) {
  constexpr double kA = -0.5;
  x = std::fabs(x);
  if (x < 1) return ((kA + 2) * x - (kA + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * kA;
  return 0;
}

double Sinc(double x) {
  if (x == 0) return 1;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double Lanczos(double x) { return x >= -3 && x < 3 ? Sinc(x) * Sinc(x / 3) : 0; }

struct Kernel {
  double (*weight)(double) = nullptr;
  double radius = 0;
};

Kernel KernelOf(Resample filter) {
  switch (filter) {
    case Resample::kLanczos:
      return {Lanczos, 3};
    case Resample::kBicubic:
      return {Bicubic, 2};
    case Resample::kBilinear:
      return {Bilinear, 1};
  }
  return {};
}

// For every output position: the first input position, how many, and their fixed-point weights.
struct Taps {
  struct Range {
    int64_t first = 0, count = 0;
  };
  std::vector<Range> ranges;
  std::vector<int32_t> weights;  // [outputs, stride]
  int64_t stride = 0;
};

int32_t ToFixedPoint(double weight) {
  const double scaled = weight * (1 << kWeightBits);
  return static_cast<int32_t>(weight < 0 ? scaled - 0.5 : scaled + 0.5);
}

// The kernel is widened by the factor of a reduction; weights are normalised over the taps inside the picture.
Taps MakeTaps(int64_t inputs, int64_t outputs, const Kernel& kernel) {
  const double scale = static_cast<double>(inputs) / static_cast<double>(outputs);
  const double widening = std::max(scale, 1.0);
  const double radius = kernel.radius * widening;
  Taps taps;
  taps.stride = static_cast<int64_t>(std::ceil(radius)) * 2 + 1;
  taps.ranges.resize(static_cast<size_t>(outputs));
  taps.weights.resize(static_cast<size_t>(outputs * taps.stride));
  std::vector<double> exact(static_cast<size_t>(taps.stride));
  for (int64_t output = 0; output < outputs; ++output) {
    const double center = (static_cast<double>(output) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - radius + 0.5), 0);
    const int64_t count = std::min(static_cast<int64_t>(center + radius + 0.5), inputs) - first;
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      exact[i] = kernel.weight((static_cast<double>(i + first) - center + 0.5) * (1 / widening));
      sum += exact[i];
    }
    for (int64_t i = 0; i < count; ++i) {
      taps.weights[output * taps.stride + i] = ToFixedPoint(sum != 0 ? exact[i] / sum : exact[i]);
    }
    taps.ranges[output] = {first, count};
  }
  return taps;
}

uint8_t FromFixedPoint(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kWeightBits, 0, 255)); }

// One output pixel from `count` input pixels that lie `step` bytes apart.
void WeighPixel(const uint8_t* in, int64_t step, std::span<const int32_t> weights, uint8_t* out) {
  int32_t red = 1 << (kWeightBits - 1), green = red, blue = red;
  for (const int32_t weight : weights) {
    red += in[0] * weight;
    green += in[1] * weight;
    blue += in[2] * weight;
    in += step;
  }
  out[0] = FromFixedPoint(red);
  out[1] = FromFixedPoint(green);
  out[2] = FromFixedPoint(blue);
}

std::span<const int32_t> Weights(const Taps& taps, int64_t output) {
  return {taps.weights.data() + output * taps.stride, static_cast<size_t>(taps.ranges[output].count)};
}

Picture Blank(int64_t height, int64_t width) {
  return {height, width, std::vector<uint8_t>(static_cast<size_t>(height * width * 3))};
}

Picture ResizeColumns(const Picture& in, int64_t width, const Kernel& kernel) {
  const Taps taps = MakeTaps(in.width, width, kernel);
  Picture out = Blank(in.height, width);
  ParallelFor(in.height, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      const uint8_t* row = in.rgb.data() + y * in.width * 3;
      for (int64_t x = 0; x < width; ++x) {
        WeighPixel(row + taps.ranges[x].first * 3, 3, Weights(taps, x), out.rgb.data() + (y * width + x) * 3);
      }
    }
  });
  return out;
}

Picture ResizeRows(const Picture& in, int64_t height, const Kernel& kernel) {
  const Taps taps = MakeTaps(in.height, height, kernel);
  Picture out = Blank(height, in.width);
  const int64_t row_bytes = in.width * 3;
  ParallelFor(height, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      const uint8_t* top = in.rgb.data() + taps.ranges[y].first * row_bytes;
      for (int64_t x = 0; x < row_bytes; x += 3) {
        WeighPixel(top + x, row_bytes, Weights(taps, y), out.rgb.data() + y * row_bytes + x);
      }
    }
  });
  return out;
}

// The order decides where bytes are rounded in between.
bool TakesRowsFirst(const Picture& picture, int64_t height, int64_t width) {
  return height < picture.height && picture.height - height > 2 * (picture.width - width);
}

}  // namespace

Picture Resize(const Picture& picture, int64_t height, int64_t width, Resample filter) {
  TESSERA_CHECK(height > 0 && width > 0 && picture.height > 0 && picture.width > 0);
  const Kernel kernel = KernelOf(filter);
  if (width == picture.width) return height == picture.height ? picture : ResizeRows(picture, height, kernel);
  if (height == picture.height) return ResizeColumns(picture, width, kernel);
  if (TakesRowsFirst(picture, height, width)) return ResizeColumns(ResizeRows(picture, height, kernel), width, kernel);
  return ResizeRows(ResizeColumns(picture, width, kernel), height, kernel);
}

}  // namespace tessera
