// What k-means over attention rows and the choice of clusters need beside matrix products.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels/linear/gemm_kernels.h"

namespace tessera {

// Rows of a set of tokens: tokens[n] names the row that starts at rows + tokens[n] * stride elements.
struct TokenRows {
  GemmElement type = GemmElement::kF32;
  const void* rows = nullptr;
  int64_t stride = 0, channels = 0;
  const int32_t* tokens = nullptr;
  int64_t count = 0;
};

// One instruction set's implementation. Every pointer may have any alignment; nothing outside of the counts is read.
struct ClusterKernels {
  // The largest of `count` scores; NaN is passed over; -inf for none.
  float (*most)(const float* scores, int64_t count);
  // Writes the indices of the scores that are at least `least`, ascending, to `found`; returns how many.
  int64_t (*at_least)(const float* scores, int64_t count, float least, int32_t* found);
  // sum[channel] += row[channel].
  void (*add_row)(GemmElement type, const void* row, int64_t channels, float* sum);
  // sum[channel] += row[channel] of one token after the other, in their order.
  void (*add_rows)(const TokenRows& rows, float* sum);
  // Sum of row[channel] * factors[channel].
  float (*dot)(GemmElement type, const void* row, int64_t channels, const float* factors);
  // Sum of row[channel]^2.
  float (*squares)(GemmElement type, const void* row, int64_t channels);
  // scores[j] becomes sizes[j] * exp(scale * (scores[j] - the largest score of a size above 0)), scale > 0; exactly 0
  // where the size is 0. Returns their sum.
  float (*weigh)(float* scores, const int32_t* sizes, int64_t count, float scale);
};

// Each is linked in every build and may be called only where its instructions exist.
const ClusterKernels& ClusterKernelsScalar() noexcept;
const ClusterKernels& ClusterKernelsAvx2() noexcept;
const ClusterKernels& ClusterKernelsAvx512() noexcept;

// Plain loops with sums in double.
const ClusterKernels& ClusterKernelsReference() noexcept;

}  // namespace tessera
