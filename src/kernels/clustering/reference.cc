// Lloyd's assignment and update, and the size-weighted softmax over cluster centres (Yang et al., arXiv 2505.18875),
// as plain loops.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/clustering/cluster_kernels.h"
#include "tensor/dtype.h"

namespace tessera {
namespace {

float ElementAt(GemmElement type, const void* row, int64_t channel) {
  if (type == GemmElement::kF32) return static_cast<const float*>(row)[channel];
  if (type == GemmElement::kBF16) return ToFloat(static_cast<const BFloat16*>(row)[channel]);
  return ToFloat(static_cast<const Float16*>(row)[channel]);
}

float Most(const float* scores, int64_t count) {
  float most = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < count; ++j) {
    if (scores[j] > most) most = scores[j];
  }
  return most;
}

int64_t AtLeast(const float* scores, int64_t count, float least, int32_t* found) {
  int64_t n = 0;
  for (int64_t j = 0; j < count; ++j) {
    if (scores[j] >= least) found[n++] = static_cast<int32_t>(j);
  }
  return n;
}

void AddRow(GemmElement type, const void* row, int64_t channels, float* sum) {
  for (int64_t d = 0; d < channels; ++d) sum[d] += ElementAt(type, row, d);
}

void AddRows(const TokenRows& rows, float* sum) {
  const int64_t bytes = rows.stride * (rows.type == GemmElement::kF32 ? 4 : 2);
  for (int64_t n = 0; n < rows.count; ++n) {
    AddRow(rows.type, static_cast<const char*>(rows.rows) + rows.tokens[n] * bytes, rows.channels, sum);
  }
}

float Dot(GemmElement type, const void* row, int64_t channels, const float* factors) {
  double sum = 0;
  for (int64_t d = 0; d < channels; ++d) sum += static_cast<double>(ElementAt(type, row, d)) * factors[d];
  return static_cast<float>(sum);
}

float Squares(GemmElement type, const void* row, int64_t channels) {
  double sum = 0;
  for (int64_t d = 0; d < channels; ++d) {
    const double x = ElementAt(type, row, d);
    sum += x * x;
  }
  return static_cast<float>(sum);
}

float Weigh(float* scores, const int32_t* sizes, int64_t count, float scale) {
  float most = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < count; ++j) {
    if (sizes[j] > 0) most = std::max(most, scores[j]);
  }
  double sum = 0;
  for (int64_t j = 0; j < count; ++j) {
    const double share = std::exp((static_cast<double>(scores[j]) - most) * scale);
    scores[j] = sizes[j] > 0 ? static_cast<float>(sizes[j] * share) : 0;
    sum += scores[j];
  }
  return static_cast<float>(sum);
}

constexpr ClusterKernels kReference = {Most, AtLeast, AddRow, AddRows, Dot, Squares, Weigh};

}  // namespace

const ClusterKernels& ClusterKernelsReference() noexcept { return kReference; }

}  // namespace tessera
