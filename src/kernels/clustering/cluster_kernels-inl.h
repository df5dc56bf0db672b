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

// Bit i: lane i of x is at least `least`. NaN is not.
inline uint32_t BitsAtLeast(Lanes x, Lanes least) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(x, least, _CMP_GE_OQ);
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x, least, _CMP_GE_OQ)));
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= x[i] >= least[i] ? 1u << i : 0u;
  return bits;
#endif
}

inline float LargestLane(Lanes x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(x);
#else
  float most = x[0];
  for (int i = 1; i < kLanes; ++i) most = x[i] > most ? x[i] : most;
  return most;
#endif
}

float Most(const float* scores, int64_t count) {
  constexpr int kChains = 4;
  Lanes most[kChains] = {Set(-INFINITY), Set(-INFINITY), Set(-INFINITY), Set(-INFINITY)};
  int64_t j = 0;
  for (; j + kChains * kLanes <= count; j += kChains * kLanes) {
    for (int c = 0; c < kChains; ++c) most[c] = Max(Load(scores + j + c * kLanes), most[c]);
  }
  for (; j + kLanes <= count; j += kLanes) most[0] = Max(Load(scores + j), most[0]);
  float largest = LargestLane(Max(Max(most[0], most[1]), Max(most[2], most[3])));
  for (; j < count; ++j) largest = scores[j] > largest ? scores[j] : largest;
  return largest;
}

int64_t AtLeast(const float* scores, int64_t count, float least, int32_t* found) {
  constexpr int64_t kWord = 64;  // scores whose bits are looked at together: almost all are 0
  const Lanes limit = Set(least);
  int64_t n = 0, j = 0;
  for (; j + kWord <= count; j += kWord) {
    uint64_t bits = 0;
    for (int i = 0; i < kWord; i += kLanes) bits |= uint64_t{BitsAtLeast(Load(scores + j + i), limit)} << i;
    for (; bits != 0; bits &= bits - 1) found[n++] = static_cast<int32_t>(j) + __builtin_ctzll(bits);
  }
  for (; j + kLanes <= count; j += kLanes) {
    for (uint32_t bits = BitsAtLeast(Load(scores + j), limit); bits != 0; bits &= bits - 1) {
      found[n++] = static_cast<int32_t>(j) + __builtin_ctz(bits);
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

// Channels [first, first + kVectors * kLanes) of all rows; the rows ahead are asked for, as they lie far apart.
template <int kVectors, class T>
inline void AddStretch(const TokenRows& rows, const T* from, int64_t first, float* sum) {
  constexpr int64_t kAhead = 8, kLine = 64 / sizeof(T);
  Lanes sums[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) sums[v] = Load(static_cast<const float*>(sum + first + v * kLanes));
  for (int64_t n = 0; n < rows.count; ++n) {
    const T* row = from + rows.tokens[n] * rows.stride + first;
    if (n + kAhead < rows.count) {
      const T* ahead = from + rows.tokens[n + kAhead] * rows.stride + first;
      for (int64_t d = 0; d < kVectors * kLanes; d += kLine) __builtin_prefetch(ahead + d);
    }
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[v] = sums[v] + Load(row + v * kLanes);
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) Store(sum + first + v * kLanes, sums[v]);
}

void AddRows(const TokenRows& rows, float* sum) {
  WithElements(rows.type, rows.rows, [&](const auto* from) {
    int64_t d = 0;
    for (; d + 8 * kLanes <= rows.channels; d += 8 * kLanes) AddStretch<8>(rows, from, d, sum);
    for (; d + kLanes <= rows.channels; d += kLanes) AddStretch<1>(rows, from, d, sum);
    const int64_t left = rows.channels - d;
    if (left == 0) return;
    Lanes last = Load(static_cast<const float*>(sum + d), left);
    for (int64_t n = 0; n < rows.count; ++n) last = last + Load(from + rows.tokens[n] * rows.stride + d, left);
    Store(sum + d, last, left);
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

constexpr ClusterKernels kClusterKernels = {Most, AtLeast, AddRow, AddRows, Dot, Squares, Weigh};

}  // namespace
}  // namespace tessera
