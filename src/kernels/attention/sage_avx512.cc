#include "kernels/attention/flash_lanes_avx512-inl.h"
#include "kernels/attention/sage_pack-inl.h"

namespace tessera {
const SageKernel& SageAvx512() noexcept { return SageTable<F32Codes<Avx512Lanes>>::kTable; }
}  // namespace tessera
