#include "kernels/attention/flash_lanes_scalar-inl.h"
#include "kernels/attention/sage_pack-inl.h"

namespace tessera {
const SageKernel& SageScalar() noexcept { return SageTable<F32Codes<ScalarLanes>>::kTable; }
}  // namespace tessera
