#include "kernels/attention/flash_lanes_avx512-inl.h"
#include "kernels/attention/nvfp4_pack-inl.h"

namespace tessera {
const Nvfp4Kernel& Nvfp4Avx512() noexcept {
  return Nvfp4Table<F32Operands<Avx512Lanes>, FlashArithmetic::kF32>::kTable;
}
}  // namespace tessera
