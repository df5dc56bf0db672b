#include "kernels/clustering/cluster_choice.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr float kSumRounding = 0x1p-16f;  // of a bf16 dot product's sum, per product of the lengths
constexpr int64_t kMostChannels = 256;
constexpr int64_t kMostOutputs = 64;  // of a packed panel

float PackF32(const float* centroids, int64_t clusters, int64_t channels, float* packed) {
  const int64_t words = (channels + kWordStep - 1) / kWordStep * kWordStep;
  ActiveGemmKernels().pack_weight({centroids, GemmElement::kF32, clusters, channels}, 0, words, packed);
  return 0;
}

float PackBf16(const float* centroids, int64_t clusters, int64_t channels, float* packed) {
  const GemmKernels& gemm = GemmKernelsAvx512Bf16();
  TESSERA_CHECK(channels <= kMostChannels && gemm.outputs <= kMostOutputs);
  const int64_t words = ((channels + 1) / 2 + kWordStep - 1) / kWordStep * kWordStep;
  double most_lost = 0, most_length = 0;
  BFloat16 rounded[kMostOutputs * kMostChannels];
  for (int64_t first = 0; first < clusters; first += gemm.outputs) {
    const int64_t count = std::min(gemm.outputs, clusters - first);
    for (int64_t n = 0; n < count; ++n) {
      double lost = 0, length = 0;
      for (int64_t d = 0; d < channels; ++d) {
        const float exact = centroids[(first + n) * channels + d];
        rounded[n * channels + d] = ToBFloat16(exact);
        const double loss = static_cast<double>(exact) - ToFloat(rounded[n * channels + d]);
        lost += loss * loss;
        length += static_cast<double>(exact) * exact;
      }
      most_lost = std::max(most_lost, lost);
      most_length = std::max(most_length, length);
    }
    gemm.pack_weight({rounded, GemmElement::kBF16, count, channels}, 0, words, packed + first * words);
  }
  return static_cast<float>(std::sqrt(most_lost)) + kSumRounding * static_cast<float>(std::sqrt(most_length));
}

}  // namespace

const ClusterKernels& ActiveClusterKernels() noexcept {
  switch (ActiveIsa()) {
    case Isa::kScalar:
      return ClusterKernelsScalar();
    case Isa::kAvx2:
      return ClusterKernelsAvx2();
    case Isa::kAvx512:
    case Isa::kAvx512Bf16:
      return ClusterKernelsAvx512();
  }
  return ClusterKernelsScalar();
}

ClusterProducts ClusterProductsFor(DType rows) noexcept {
  if (rows == DType::kBF16 && Bf16DotPays()) return {&GemmKernelsAvx512Bf16(), PackBf16};
  return {&ActiveGemmKernels(), PackF32};
}

int32_t Nearest(const ClusterKernels& kernels, const Centroids& centroids, const NearestRow& row,
                int32_t* found) noexcept {
  const float most = kernels.most(row.scores, centroids.clusters);
  const float doubt = centroids.bias[centroids.clusters];
  float least = most;
  if (doubt > 0) least -= 2 * doubt * std::sqrt(kernels.squares(row.element, row.row, centroids.channels));
  const int64_t candidates = kernels.at_least(row.scores, centroids.clusters, least, found);
  if (candidates == 0) return 0;  // every score is NaN
  int32_t nearest = found[0];
  if (doubt == 0 || candidates == 1) return nearest;
  float best = -INFINITY;
  for (int64_t i = 0; i < candidates; ++i) {
    const int32_t n = found[i];
    const float score = centroids.bias[n] +
                        kernels.dot(row.element, row.row, centroids.channels, centroids.rows + n * centroids.channels);
    if (score > best) {
      best = score;
      nearest = n;
    }
  }
  return nearest;
}

}  // namespace tessera
