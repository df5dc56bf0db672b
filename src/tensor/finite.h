// Values that are numbers.
#pragma once
#include "tensor/tensor.h"

namespace tessera {

// No infinity and no NaN among the values of a contiguous tensor of f64, f32, bf16 or f16.
bool AllFinite(const Tensor& tensor) noexcept;

}  // namespace tessera
