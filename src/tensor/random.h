// torch's CPU generator: mt19937 and its normal transforms, bit for bit the sequence of torch.randn.
#pragma once
#include <array>
#include <cstdint>
#include <optional>

#include "tensor/tensor.h"

namespace tessera {

class TorchGenerator {
 public:
  explicit TorchGenerator(uint64_t seed);

  uint32_t Next32() noexcept;

  // torch.randn(shape, dtype, generator): f32 or bf16 (which draws 8-bit uniforms, not rounded f32 noise).
  Tensor Randn(const Shape& shape, DType dtype);
  // torch.rand(shape), f32: (u32 & 0xFFFFFF) * 2^-24.
  Tensor Rand(const Shape& shape);

 private:
  double ScalarNormal() noexcept;

  std::array<uint32_t, 624> state_;
  int next_ = 624;
  std::optional<double> cached_normal_;
};

}  // namespace tessera
