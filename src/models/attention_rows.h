// Projected rows as operands of attention.
#pragma once
#include "attention/attention_io.h"
#include "tensor/tensor.h"

namespace tessera {

// Contiguous rows [tokens, heads * head_dim] of one sample.
inline BshdIn HeadsOf(const Tensor& rows, int64_t head_dim) noexcept {
  return {rows.raw(), rows.numel(), rows.dim(1), head_dim};
}
inline BshdOut HeadsOf(Tensor* rows, int64_t head_dim) noexcept {
  return {rows->mutable_raw(), rows->numel(), rows->dim(1), head_dim};
}

}  // namespace tessera
