#include "kernels/linear/reference.h"

namespace tessera::reference {
namespace {

double Get(const Tensor& t, int64_t i) noexcept {
  if (t.dtype() == DType::kF32) return static_cast<double>(t.data<float>()[i]);
  if (t.dtype() == DType::kF16) return static_cast<double>(ToFloat(t.data<Float16>()[i]));
  return static_cast<double>(ToFloat(t.data<BFloat16>()[i]));
}

}  // namespace

void Gemm(const Tensor& src, const Tensor& weight, const Tensor& bias, Tensor& dst) noexcept {
  const int64_t out = weight.dim(0), in = weight.dim(1);
  for (int64_t i = 0; i < dst.numel(); ++i) {
    const int64_t row = i / out, output = i % out;
    double sum = bias.defined() ? Get(bias, output) : 0.0;
    for (int64_t k = 0; k < in; ++k) sum += Get(src, row * in + k) * Get(weight, output * in + k);
    if (dst.dtype() == DType::kF32) {
      dst.mutable_data<float>()[i] = static_cast<float>(sum);
    } else {
      dst.mutable_data<BFloat16>()[i] = ToBFloat16(static_cast<float>(sum));
    }
  }
}

}  // namespace tessera::reference
