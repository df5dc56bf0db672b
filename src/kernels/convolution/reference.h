// The convolution as plain loops with double sums: what tests compare with.
#pragma once
#include "kernels/convolution/convolution.h"

namespace tessera::reference {

// src [n, h, w, in] f32, weight [out, in, kh, kw] f32, bias [out] f32 -> dst [n, h', w', out] f32.
void Convolve(const Tensor& src, const Tensor& weight, const Tensor& bias, const ConvolutionShape& shape,
              Tensor& dst) noexcept;

}  // namespace tessera::reference
