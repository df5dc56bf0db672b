// Matrix products on the CPU through oneDNN: weights in place in their [out, in] order.
#pragma once
#include <cstdint>

#include "tensor/tensor.h"
#include "tensor/workspace.h"

namespace tessera {

// dst[rows, out] = src[rows, in] * weight[out, in]^T (+ bias[out], f32, may be undefined). src f32|bf16|, weight
// f32|bf16|f16, dst f32|bf16, all contiguous; f32 accumulation. Where src and weight types differ, or bf16 dot products
// do not pay on this machine (Bf16DotPays), both are widened into `workspace` in slices of output rows, never whole
// models. Primitives are cached by shape. Same bytes for any number of threads.
void Gemm(const Tensor& src, const Tensor& weight, const Tensor& bias, Tensor& dst, Workspace& workspace) noexcept;
size_t GemmWorkspaceBytes(int64_t rows, int64_t in, int64_t out, DType src, DType weight) noexcept;

}  // namespace tessera
