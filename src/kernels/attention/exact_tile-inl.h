// Bodies of the exact attention tile; the including file defines `Vec` (and `LoadBf16`, `LoadF16` within it) in an
// anonymous namespace, and kGroup, the number of vectors that one register tile spans.
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/attention/exact_tile.h"

namespace tessera {
namespace {

// 2^f on [-1/2, 1/2], relative error 2e-9 before rounding (minimax).
constexpr float kExp2[] = {1.0f,           0.693147206f,   0.240226469f,   0.0555032878f,
                           0.00961848896f, 0.00133999313f, 0.000153458121f};
constexpr float kLog2E = 1.44269504f;
constexpr float kLeastExponent = -125.0f;  // results below 2^-125 become 0, so that none is subnormal

// exp(x) for x <= 0; NaN stays NaN.
inline Vec Exp(Vec x) {
  const Vec t = Vec::Mul(x, Vec::Set(kLog2E));
  const Vec whole = Vec::Round(t);
  const Vec f = Vec::Sub(t, whole);
  Vec p = Vec::Set(kExp2[6]);
  for (int i = 5; i >= 0; --i) p = Vec::MulAdd(p, f, Vec::Set(kExp2[i]));
  return Vec::ZeroWhereLess(Vec::Mul(p, Vec::PowerOfTwo(whole)), t, Vec::Set(kLeastExponent));
}

template <class T, Vec (*load)(const T*), float (*convert)(T)>
void Widen(const void* from, float* to, int64_t count) {
  const T* source = static_cast<const T*>(from);
  int64_t i = 0;
  for (; i + Vec::kLanes <= count; i += Vec::kLanes) Vec::Store(load(source + i), to + i);
  for (; i < count; ++i) to[i] = convert(source[i]);
}

inline float Bf16ToFloat(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

inline float F16ToFloat(uint16_t half) {
  const uint32_t magnitude = (half & 0x7FFFu) << 13;
  float value;
  memcpy(&value, &magnitude, sizeof value);
  value *= 0x1p112f;  // moves the exponent's bias from 15 to 127, exact for subnormals too
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((half & 0x7C00u) == 0x7C00u) bits = magnitude | 0x7F800000u;
  bits |= static_cast<uint32_t>(half & 0x8000u) << 16;
  memcpy(&value, &bits, sizeof value);
  return value;
}

void WidenF32(const void* from, float* to, int64_t count) {
  memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

// kExactRows keys by V vectors of queries.
template <int V>
inline void ScoreTile(const float* keys, const ExactPanel& panel, const float* queries, float scale, float* scores) {
  Vec sum[kExactRows][V];
  for (int r = 0; r < kExactRows; ++r) {
    for (int v = 0; v < V; ++v) sum[r][v] = Vec::Set(0);
  }
  for (int64_t d = 0; d < panel.head_dim; ++d) {
    Vec q[V];
    for (int v = 0; v < V; ++v) q[v] = Vec::Load(queries + d * kExactLanes + v * Vec::kLanes);
    for (int r = 0; r < kExactRows; ++r) {
      const Vec k = Vec::Set(keys[r * panel.stride + d]);
      for (int v = 0; v < V; ++v) sum[r][v] = Vec::MulAdd(k, q[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kExactRows; ++r) {
    for (int v = 0; v < V; ++v) {
      Vec::Store(Vec::Mul(sum[r][v], Vec::Set(scale)), scores + r * kExactLanes + v * Vec::kLanes);
    }
  }
}

template <int V>
inline void ScoreColumns(const ExactPanel& keys, const float* queries, float scale, float* scores) {
  for (int64_t key = 0; key < keys.count; key += kExactRows) {
    ScoreTile<V>(keys.rows + key * keys.stride, keys, queries, scale, scores + key * kExactLanes);
  }
}

void Scores(const ExactPanel& keys, const float* queries, int lanes, float scale, float* scores) {
  int lane = 0;
  for (; lane + kGroup * Vec::kLanes <= lanes; lane += kGroup * Vec::kLanes) {
    ScoreColumns<kGroup>(keys, queries + lane, scale, scores + lane);
  }
  for (; lane < lanes; lane += Vec::kLanes) ScoreColumns<1>(keys, queries + lane, scale, scores + lane);
}

// One vector of queries; four running sums hide the latency of the additions.
inline int SoftmaxColumn(float* scores, int64_t keys, float* maximum, float* sum, float* rescale) {
  const Vec before = Vec::Load(maximum);
  Vec largest[kExactRows];
  for (int r = 0; r < kExactRows; ++r) largest[r] = before;
  for (int64_t key = 0; key < keys; key += kExactRows) {
    for (int r = 0; r < kExactRows; ++r) largest[r] = Vec::Max(largest[r], Vec::Load(scores + (key + r) * kExactLanes));
  }
  const Vec now = Vec::Max(Vec::Max(largest[0], largest[1]), Vec::Max(largest[2], largest[3]));
  const Vec reference = Vec::ZeroWhereLess(now, now, Vec::Set(-3.40282347e38f));  // -inf - -inf must not happen
  Vec added[kExactRows];
  for (int r = 0; r < kExactRows; ++r) added[r] = Vec::Set(0);
  for (int64_t key = 0; key < keys; key += kExactRows) {
    for (int r = 0; r < kExactRows; ++r) {
      float* at = scores + (key + r) * kExactLanes;
      const Vec p = Exp(Vec::Sub(Vec::Load(at), reference));
      Vec::Store(p, at);
      added[r] = Vec::Add(added[r], p);
    }
  }
  const Vec factor = Exp(Vec::Sub(before, reference));
  const Vec total = Vec::Add(Vec::Add(added[0], added[1]), Vec::Add(added[2], added[3]));
  Vec::Store(Vec::MulAdd(Vec::Load(sum), factor, total), sum);
  Vec::Store(factor, rescale);
  Vec::Store(now, maximum);
  return Vec::AnyNotEqual(before, now);
}

int Softmax(float* scores, int64_t keys, int lanes, const ExactSoftmax& state) {
  int changed = 0;
  for (int lane = 0; lane < lanes; lane += Vec::kLanes) {
    changed |= SoftmaxColumn(scores + lane, keys, state.maximum + lane, state.sum + lane, state.rescale + lane);
  }
  return changed;
}

// kExactRows channels by V vectors of queries.
template <int V>
inline void OutputTile(const float* values, const ExactPanel& panel, const float* weights, const float* rescale,
                       float* out) {
  Vec sum[kExactRows][V];
  for (int v = 0; v < V; ++v) {
    const Vec factor = rescale != nullptr ? Vec::Load(rescale + v * Vec::kLanes) : Vec::Set(1);
    for (int r = 0; r < kExactRows; ++r)
      sum[r][v] = Vec::Mul(factor, Vec::Load(out + r * kExactLanes + v * Vec::kLanes));
  }
  for (int64_t key = 0; key < panel.count; ++key) {
    Vec p[V];
    for (int v = 0; v < V; ++v) p[v] = Vec::Load(weights + key * kExactLanes + v * Vec::kLanes);
    for (int r = 0; r < kExactRows; ++r) {
      const Vec x = Vec::Set(values[key * panel.stride + r]);
      for (int v = 0; v < V; ++v) sum[r][v] = Vec::MulAdd(x, p[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kExactRows; ++r) {
    for (int v = 0; v < V; ++v) Vec::Store(sum[r][v], out + r * kExactLanes + v * Vec::kLanes);
  }
}

template <int V>
inline void OutputColumns(const ExactPanel& values, const float* weights, const float* rescale, float* out) {
  for (int64_t d = 0; d < values.head_dim; d += kExactRows) {
    OutputTile<V>(values.rows + d, values, weights, rescale, out + d * kExactLanes);
  }
}

void Accumulate(const ExactPanel& values, const float* weights, int lanes, const float* rescale, float* out) {
  const auto from = [&](int lane) { return rescale != nullptr ? rescale + lane : nullptr; };
  int lane = 0;
  for (; lane + kGroup * Vec::kLanes <= lanes; lane += kGroup * Vec::kLanes) {
    OutputColumns<kGroup>(values, weights + lane, from(lane), out + lane);
  }
  for (; lane < lanes; lane += Vec::kLanes) OutputColumns<1>(values, weights + lane, from(lane), out + lane);
}

int AllFinite(const float* values, int64_t count) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    memcpy(&bits, values + i, sizeof bits);
    bits &= 0x7FFFFFFFu;
    largest = bits > largest ? bits : largest;
  }
  return largest < 0x7F800000u ? 1 : 0;
}

constexpr ExactTileKernels kKernels = {WidenF32,
                                       Widen<uint16_t, Vec::LoadBf16, Bf16ToFloat>,
                                       Widen<uint16_t, Vec::LoadF16, F16ToFloat>,
                                       Scores,
                                       Softmax,
                                       Accumulate,
                                       AllFinite};

}  // namespace
}  // namespace tessera
