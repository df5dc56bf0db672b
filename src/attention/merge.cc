#include "attention/merge.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr float kNoKey = -std::numeric_limits<float>::infinity();
constexpr size_t kMostPartials = 1024;  // weights of one row live on the stack

// exp(lse - largest) of every partial, as shares of their sum. Returns the merged lse.
float Weights(std::span<const AttentionPartial> partials, int64_t lse_at, float* weights) {
  float largest = kNoKey;
  for (const AttentionPartial& partial : partials) largest = std::max(largest, partial.lse[lse_at]);
  if (largest == kNoKey) return kNoKey;
  double sum = 0;
  for (size_t n = 0; n < partials.size(); ++n) {
    weights[n] = std::exp(partials[n].lse[lse_at] - largest);
    sum += weights[n];
  }
  for (size_t n = 0; n < partials.size(); ++n) weights[n] = static_cast<float>(weights[n] / sum);
  return static_cast<float>(largest + std::log(sum));
}

void MergeRow(std::span<const AttentionPartial> partials, const float* weights, int64_t at, int64_t head_dim,
              float* out) {
  for (int64_t d = at; d < at + head_dim; ++d) {
    float sum = 0;
    for (size_t n = 0; n < partials.size(); ++n) {
      if (weights[n] != 0) sum += weights[n] * partials[n].out[d];
    }
    out[d] = sum;
  }
}

struct Merge {
  std::span<const AttentionPartial> partials;
  MergeShape shape;
  float* out;
  float* lse;

  void Rows(int64_t begin, int64_t end) const noexcept {
    float weights[kMostPartials];
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t head = 0; head < shape.heads; ++head) {
        const int64_t lse_at = (row / shape.seq * shape.heads + head) * shape.seq + row % shape.seq;
        const int64_t out_at = (row * shape.heads + head) * shape.head_dim;
        const float merged = Weights(partials, lse_at, weights);
        if (merged == kNoKey) {
          std::fill_n(out + out_at, shape.head_dim, 0.0f);
        } else {
          MergeRow(partials, weights, out_at, shape.head_dim, out);
        }
        if (lse != nullptr) lse[lse_at] = merged;
      }
    }
  }
};

}  // namespace

void MergeAttention(std::span<const AttentionPartial> partials, const MergeShape& shape, float* out,
                    float* lse) noexcept {
  TESSERA_CHECK(!partials.empty() && partials.size() <= kMostPartials);
  const Merge merge{partials, shape, out, lse};
  ParallelFor(shape.batch * shape.seq, 16, [&merge](int64_t begin, int64_t end) { merge.Rows(begin, end); });
}

}  // namespace tessera
