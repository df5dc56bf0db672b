#include "kernels/attention/lane_cut-inl.h"

namespace tessera {

LaneCutKernel LaneCutAvx512() noexcept { return LaneCut; }

}  // namespace tessera
