#include "kernels/attention/lane_cut-inl.h"

namespace tessera {

LaneCutKernel LaneCutAvx2() noexcept { return LaneCut; }

}  // namespace tessera
