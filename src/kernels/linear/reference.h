// Gemm as plain loops with double sums: what tests compare with.
#pragma once
#include "tensor/tensor.h"

namespace tessera::reference {

void Gemm(const Tensor& src, const Tensor& weight, const Tensor& bias, Tensor& dst) noexcept;

}  // namespace tessera::reference
