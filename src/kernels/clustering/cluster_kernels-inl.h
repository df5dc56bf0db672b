// Clustering's passes over scores and rows, for whatever lanes the including file has.
#pragma once
#include <math.h>

#include "kernels/clustering/cluster_kernels.h"
#include "kernels/simd/lanes-inl.h"

namespace tessera {
namespace {

// Calls f with a pointer of the row's element type.
template <class F>
inline auto WithElements(GemmElement type, const void* row, const F& f) {
  if (type == GemmElement::kF32) return f(static_cast<const float*>(row));
  if (type == GemmElement::kBF16) return f(static_cast<const Bf16*>(row));
  return f(static_cast<const F16*>(row));
}

inline float LargestLane(Lanes x) {
  float lanes[kLanes];
  Store(lanes, x);
  float most = lanes[0];
  for (int i = 1; i < kLanes; ++i) most = lanes[i] > most ? lanes[i] : most;
  return most;
}

float Most(const float* scores, int64_t count) {
  const Lanes none = Set(-INFINITY);
  Lanes most = none;
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    const Lanes score = Load(scores + j);
    most = score > most ? score : most;
  }
  float largest = LargestLane(most);
  for (; j < count; ++j) largest = scores[j] > largest ? scores[j] : largest;
  return largest;
}

int64_t AtLeast(const float* scores, int64_t count, float least, int32_t* found) {
  int64_t n = 0, j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    if (LargestLane(Load(scores + j)) < least) continue;
    for (int64_t i = j; i < j + kLanes; ++i) {
      if (scores[i] >= least) found[n++] = static_cast<int32_t>(i);
    }
  }
  for (; j < count; ++j) {
    if (scores[j] >= least) found[n++] = static_cast<int32_t>(j);
  }
  return n;
}

void AddRow(GemmElement type, const void* row, int64_t channels, float* sum) {
  WithElements(type, row, [&](const auto* from) {
    int64_t d = 0;
    for (; d + kLanes <= channels; d += kLanes) Store(sum + d, Load(sum + d) + Load(from + d));
    const int64_t left = channels - d;
    if (left > 0) Store(sum + d, Load(static_cast<const float*>(sum + d), left) + Load(from + d, left), left);
  });
}

float Dot(GemmElement type, const void* row, int64_t channels, const float* factors) {
  return WithElements(type, row, [&](const auto* from) {
    Lanes sum = Set(0);
    int64_t d = 0;
    for (; d + kLanes <= channels; d += kLanes) sum = MulAdd(Load(from + d), Load(factors + d), sum);
    const int64_t left = channels - d;
    if (left > 0) sum = MulAdd(Load(from + d, left), Load(factors + d, left), sum);
    return Sum(sum);
  });
}

float Squares(GemmElement type, const void* row, int64_t channels) {
  return WithElements(type, row, [&](const auto* from) {
    Lanes sum = Set(0);
    for (int64_t d = 0; d < channels; d += kLanes) {
      const Lanes x = d + kLanes <= channels ? Load(from + d) : Load(from + d, channels - d);
      sum = MulAdd(x, x, sum);
    }
    return Sum(sum);
  });
}

float Weigh(float* scores, const int32_t* sizes, int64_t count, float scale) {
  float most = -INFINITY;
  for (int64_t j = 0; j < count; ++j) {
    if (sizes[j] > 0 && scores[j] > most) most = scores[j];
  }
  float sum = 0;
  for (int64_t j = 0; j < count; j += kLanes) {
    const int64_t n = count - j < kLanes ? count - j : kLanes;
    float weights[kLanes] = {};
    for (int64_t i = 0; i < n; ++i) weights[i] = static_cast<float>(sizes[j + i]);
    const Lanes score = n == kLanes ? Load(scores + j) : Load(static_cast<const float*>(scores + j), n);
    const Lanes share = Exp((score - Set(most)) * Set(scale));
    float shares[kLanes];
    Store(shares, share);
    for (int64_t i = 0; i < n; ++i) {
      scores[j + i] = sizes[j + i] > 0 ? shares[i] * weights[i] : 0;
      sum += scores[j + i];
    }
  }
  return sum;
}

constexpr ClusterKernels kClusterKernels = {Most, AtLeast, AddRow, Dot, Squares, Weigh};

}  // namespace
}  // namespace tessera
