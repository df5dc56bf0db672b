// Which kernels cluster rows of a type on this machine, and the nearest centroid from scores that may be rounded.
#pragma once
#include "kernels/clustering/cluster_kernels.h"
#include "tensor/dtype.h"

namespace tessera {

const ClusterKernels& ActiveClusterKernels() noexcept;

// Products of rows with centroids. bf16 rows meet centroids rounded to bf16 where such products are faster; `pack`
// returns how far a score <x, c> may be from the exact one for a row of length 1 (0: it is as exact as f32 gets).
struct ClusterProducts {
  const GemmKernels* gemm = nullptr;
  float (*pack)(const float* centroids, int64_t clusters, int64_t channels, float* packed) = nullptr;
};
ClusterProducts ClusterProductsFor(DType rows) noexcept;

struct Centroids {
  const float* rows = nullptr;  // [clusters, channels]
  const float* bias = nullptr;  // [clusters + 1]: minus half the squared lengths, then what `pack` returned
  int64_t clusters = 0, channels = 0;
};
struct NearestRow {
  GemmElement element = GemmElement::kF32;
  const void* row = nullptr;
  const float* scores = nullptr;  // [clusters], bias included
};
// The lowest of the nearest centroids. Those that rounding may have kept from being first are compared in f32; `found`
// has room for all clusters.
int32_t Nearest(const ClusterKernels& kernels, const Centroids& centroids, const NearestRow& row,
                int32_t* found) noexcept;

}  // namespace tessera
