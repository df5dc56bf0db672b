#include "kernels/attention/lane_cut-inl.h"

namespace tessera {

LaneCutKernel LaneCutScalar() noexcept { return LaneCut; }

}  // namespace tessera
