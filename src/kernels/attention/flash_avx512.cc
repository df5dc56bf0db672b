#include "kernels/attention/flash_lanes_avx512-inl.h"
#include "kernels/attention/flash_operands_f32-inl.h"
#include "kernels/attention/flash_pack-inl.h"

namespace tessera {
const FlashKernel& FlashAvx512() noexcept { return F32Flash<F32Operands<Avx512Lanes>>::kTable; }
}  // namespace tessera
