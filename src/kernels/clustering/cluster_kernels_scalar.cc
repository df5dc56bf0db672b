#include "kernels/clustering/cluster_kernels-inl.h"

namespace tessera {
const ClusterKernels& ClusterKernelsScalar() noexcept { return kClusterKernels; }
}  // namespace tessera
