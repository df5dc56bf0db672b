#include "kernels/attention/flash_lanes_avx2-inl.h"
#include "kernels/attention/nvfp4_pack-inl.h"

namespace tessera {
const Nvfp4Kernel& Nvfp4Avx2() noexcept { return Nvfp4Table<F32Operands<Avx2Lanes>, FlashArithmetic::kF32>::kTable; }
}  // namespace tessera
