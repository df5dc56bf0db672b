// Rotation tables: cos and sin per token, computed once per run.
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace tessera {

struct RotaryTable {
  Tensor cos, sin;  // [tokens, head_dim / 2] f32
};

// N-axis tables (FLUX.2, Wan, ...): axis a rotates axes_dims[a] / 2 pairs by position * theta^(-2i / axes_dims[a]),
// frequencies in f64. ids [tokens, axes] f32 or i64.
RotaryTable AxisRotary(const Tensor& ids, const std::vector<int64_t>& axes_dims, double theta);

// One axis, positions 0..tokens-1 (decoder language models), frequencies in f32 as transformers does.
RotaryTable SequenceRotary(int64_t tokens, int64_t head_dim, double theta);

}  // namespace tessera
