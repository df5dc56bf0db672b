#include "kernels/convolution/reference.h"

#include <array>

namespace tessera::reference {
namespace {

// The sum over the kernel's window whose first corner is at (y, x) of picture n.
double Window(const Tensor& src, const Tensor& weight, int64_t output, int64_t n, std::array<int64_t, 2> corner) {
  const int64_t height = src.dim(1), width = src.dim(2), channels = src.dim(3), kernel = weight.dim(2);
  const float *pixels = src.data<float>(), *weights = weight.data<float>();
  double sum = 0;
  for (int64_t ky = 0; ky < kernel; ++ky) {
    for (int64_t kx = 0; kx < kernel; ++kx) {
      const int64_t y = corner[0] + ky, x = corner[1] + kx;
      if (y < 0 || y >= height || x < 0 || x >= width) continue;
      const float* pixel = pixels + ((n * height + y) * width + x) * channels;
      const float* taps = weights + output * channels * kernel * kernel + ky * kernel + kx;
      for (int64_t c = 0; c < channels; ++c) {
        sum += static_cast<double>(pixel[c]) * static_cast<double>(taps[c * kernel * kernel]);
      }
    }
  }
  return sum;
}

}  // namespace

void Convolve(const Tensor& src, const Tensor& weight, const Tensor& bias, const ConvolutionShape& shape,
              Tensor& dst) noexcept {
  const int64_t height = dst.dim(1), width = dst.dim(2), outputs = dst.dim(3);
  for (int64_t i = 0; i < dst.numel(); ++i) {
    const int64_t output = i % outputs, x = i / outputs % width, y = i / outputs / width % height;
    const int64_t n = i / outputs / width / height;
    const double sum =
        Window(src, weight, output, n, {y * shape.stride - shape.pad_begin, x * shape.stride - shape.pad_begin});
    dst.mutable_data<float>()[i] = static_cast<float>(sum + static_cast<double>(bias.data<float>()[output]));
  }
}

}  // namespace tessera::reference
