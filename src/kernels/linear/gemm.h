// Matrix products on the CPU: packed tiles per instruction set, weights read from their [out, in] order.
#pragma once
#include <cstdint>

#include "tensor/tensor.h"
#include "tensor/workspace.h"

namespace tessera {

// dst[rows, out] = src[rows, in] * weight[out, in]^T (+ bias[out], f32, may be undefined). src f32|bf16, weight
// f32|bf16|f16, dst f32|bf16, all contiguous, any alignment; f32 accumulation. bf16 by bf16 multiplies pairs where that
// pays (Bf16DotPays); everything else is widened to f32 while a stretch of it is packed into `workspace`, never whole
// models. Up to four rows are multiplied without packing. Same bytes for any number of threads.
void Gemm(const Tensor& src, const Tensor& weight, const Tensor& bias, Tensor& dst, Workspace& workspace) noexcept;
size_t GemmWorkspaceBytes(int64_t rows, int64_t in, int64_t out, DType src, DType weight) noexcept;

}  // namespace tessera
