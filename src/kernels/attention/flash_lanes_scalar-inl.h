// Four f32 lanes in plain C++ for any machine, which compilers turn into the baseline's vectors.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

namespace tessera {
namespace {

using Float4 = float __attribute__((vector_size(16)));
using Int4 = int32_t __attribute__((vector_size(16)));
using Bits4 = uint32_t __attribute__((vector_size(16)));

uint32_t BitsOf(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
float FloatOf(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

float FromF16(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 0x1Fu, fraction = half & 0x3FFu;
  if (exponent == 31) return FloatOf(sign | 0x7F800000u | fraction << 13);
  if (exponent != 0) return FloatOf(sign | (exponent + 112) << 23 | fraction << 13);
  const float small = static_cast<float>(fraction) * 0x1p-24f;
  return sign != 0 ? -small : small;
}

// Round to nearest even.
uint16_t ToF16(float x) {
  const auto sign = static_cast<uint16_t>(BitsOf(x) >> 16 & 0x8000u);
  const float magnitude = fabsf(x);
  const uint32_t bits = BitsOf(magnitude);
  if (bits > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u);
  if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | 0x7C00u);
  // Below 2^-14 the sum with 1/2 rounds to the subnormal step of 2^-24.
  if (magnitude < 0x1p-14f) return static_cast<uint16_t>(sign | (BitsOf(magnitude + 0.5f) - BitsOf(0.5f)));
  return static_cast<uint16_t>(sign | ((bits + 0xFFFu + (bits >> 13 & 1u) - (112u << 23)) >> 13));
}

uint16_t ToBf16(float x) {
  const uint32_t bits = BitsOf(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

struct ScalarLanes {
  using Vector = Float4;
  static constexpr int kWidth = 4;
  static constexpr int kTileRows = 4;
  static constexpr int kTileVectors = 2;

  static Vector Zero() { return Vector{}; }
  static Vector Set(float x) { return Vector{x, x, x, x}; }
  static Vector Load(const float* from) {
    Vector x;
    memcpy(&x, from, sizeof x);
    return x;
  }
  static void Store(float* to, Vector x) { memcpy(to, &x, sizeof x); }
  static Vector Add(Vector a, Vector b) { return a + b; }
  static Vector Sub(Vector a, Vector b) { return a - b; }
  static Vector Mul(Vector a, Vector b) { return a * b; }
  static Vector Div(Vector a, Vector b) { return a / b; }
  static Vector Max(Vector a, Vector b) { return a > b ? a : b; }
  static Vector Min(Vector a, Vector b) { return a < b ? a : b; }
  // The larger of `most` and |x|; NaN counts as larger than every number. `most` has no sign.
  static Vector MaxMagnitude(Vector most, Vector x) {
    const Bits4 a = BitsOfLanes(most), b = BitsOfLanes(x) & 0x7FFFFFFFu;
    return FromBits(a > b ? a : b);
  }
  static Vector MulAdd(Vector a, Vector b, Vector c) { return a * b + c; }
  static Vector MulSub(Vector a, Vector b, Vector c) { return a * b - c; }
  static Vector RoundUp(Vector x) { return Vector{ceilf(x[0]), ceilf(x[1]), ceilf(x[2]), ceilf(x[3])}; }
  static Vector RoundEven(Vector x) { return Vector{rintf(x[0]), rintf(x[1]), rintf(x[2]), rintf(x[3])}; }
  // Rounds the significand to kBits bits, to nearest even.
  template <int kBits>
  static Vector RoundSignificand(Vector x) {
    constexpr int kDropped = 24 - kBits;
    constexpr uint32_t kStep = 1u << kDropped;
    const Bits4 bits = BitsOfLanes(x);
    return FromBits((bits + (kStep / 2 - 1) + (bits >> kDropped & 1u)) & ~(kStep - 1));
  }
  // `small` where |x| < limit.
  static Vector SelectSmall(Vector x, float limit, Vector small, Vector large) {
    return FromBits(BitsOfLanes(x) & 0x7FFFFFFFu) < Set(limit) ? small : large;
  }
  static bool AnyAbove(Vector x, float limit) {
    const Int4 above = x > Set(limit);
    return (above[0] | above[1] | above[2] | above[3]) != 0;
  }
  static Vector Select(uint64_t bits, Vector x, Vector otherwise) {
    const auto four = static_cast<int32_t>(bits & 0xF);
    return (Int4{four, four, four, four} & Int4{1, 2, 4, 8}) != 0 ? x : otherwise;
  }
  static Vector ZeroWhereZero(Vector probe, Vector x) { return probe != Zero() ? x : Zero(); }
  static Vector ScaleByPower(Vector x, Vector shifted, Vector t, float limit) {
    const Vector scaled = FromBits(BitsOfLanes(x) + (BitsOfLanes(shifted) << 23));
    return t < Set(limit) ? Zero() : scaled;
  }

  static Vector Widen(const float* from) { return Load(from); }
  static Vector WidenBf16(const uint16_t* from) {
    Vector x;
    for (int i = 0; i < kWidth; ++i) x[i] = FloatOf(static_cast<uint32_t>(from[i]) << 16);
    return x;
  }
  static Vector WidenF16(const uint16_t* from) {
    return Vector{FromF16(from[0]), FromF16(from[1]), FromF16(from[2]), FromF16(from[3])};
  }
  static void Narrow(float* to, Vector x) { Store(to, x); }
  static void NarrowBf16(uint16_t* to, Vector x) {
    for (int i = 0; i < kWidth; ++i) to[i] = ToBf16(x[i]);
  }
  static void NarrowF16(uint16_t* to, Vector x) {
    for (int i = 0; i < kWidth; ++i) to[i] = ToF16(x[i]);
  }

  static void Transpose(Vector (&rows)[kWidth]) {
    Vector columns[kWidth];
    for (int i = 0; i < kWidth; ++i) columns[i] = Vector{rows[0][i], rows[1][i], rows[2][i], rows[3][i]};
    for (int i = 0; i < kWidth; ++i) rows[i] = columns[i];
  }

 private:
  static Bits4 BitsOfLanes(Vector x) {
    Bits4 bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
  }
  static Vector FromBits(Bits4 bits) {
    Vector x;
    memcpy(&x, &bits, sizeof x);
    return x;
  }
};

}  // namespace
}  // namespace tessera
