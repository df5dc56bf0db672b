#include "kernels/clustering/cluster_kernels-inl.h"

namespace tessera {
const ClusterKernels& ClusterKernelsAvx512() noexcept { return kClusterKernels; }
}  // namespace tessera
