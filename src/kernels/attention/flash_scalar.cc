#include "kernels/attention/flash_lanes_scalar-inl.h"
#include "kernels/attention/flash_operands_f32-inl.h"
#include "kernels/attention/flash_pack-inl.h"

namespace tessera {
const FlashKernel& FlashScalar() noexcept { return F32Flash<F32Operands<ScalarLanes>>::kTable; }
}  // namespace tessera
