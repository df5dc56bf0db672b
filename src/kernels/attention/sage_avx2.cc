#include "kernels/attention/flash_lanes_avx2-inl.h"
#include "kernels/attention/sage_pack-inl.h"

namespace tessera {
const SageKernel& SageAvx2() noexcept { return SageTable<F32Codes<Avx2Lanes>>::kTable; }
}  // namespace tessera
