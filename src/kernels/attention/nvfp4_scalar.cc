#include "kernels/attention/flash_lanes_scalar-inl.h"
#include "kernels/attention/nvfp4_pack-inl.h"

namespace tessera {
const Nvfp4Kernel& Nvfp4Scalar() noexcept {
  return Nvfp4Table<F32Operands<ScalarLanes>, FlashArithmetic::kF32>::kTable;
}
}  // namespace tessera
