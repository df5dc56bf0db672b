#include "kernels/clustering/cluster_kernels-inl.h"

namespace tessera {
const ClusterKernels& ClusterKernelsAvx2() noexcept { return kClusterKernels; }
}  // namespace tessera
