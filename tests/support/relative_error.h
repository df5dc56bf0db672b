// How far tensors are from recorded ones.
#pragma once
#include "tensor/tensor.h"

namespace tessera {

// Largest absolute error over largest absolute value; infinite for values that are not finite. Any float types, equal
// element counts.
double RelativeError(const Tensor& got, const Tensor& want);

}  // namespace tessera
