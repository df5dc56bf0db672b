#include "kernels/attention/flash_lanes_avx2-inl.h"
#include "kernels/attention/flash_operands_f32-inl.h"
#include "kernels/attention/flash_pack-inl.h"

namespace tessera {
const FlashKernel& FlashAvx2() noexcept { return F32Flash<F32Operands<Avx2Lanes>>::kTable; }
}  // namespace tessera
