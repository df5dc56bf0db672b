#include "kernels/elementwise/row_kernels.h"

#include "kernels/elementwise/row_kernels-inl.h"

namespace tessera {
const RowKernels& RowKernelsAvx512() noexcept { return kRowKernels; }
}  // namespace tessera
