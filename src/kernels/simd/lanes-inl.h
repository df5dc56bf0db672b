// One register of f32 lanes per instruction set: loads and stores of f32, bf16 and f16, and the few operations that the
// compiler's vector operators lack. For files of one instruction set only (everything has internal linkage).
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

namespace tessera {
namespace {

// 16-bit storage types: plain words with a meaning.
struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float Lanes __attribute__((vector_size(kLanes * 4)));
typedef int32_t IntLanes __attribute__((vector_size(kLanes * 4)));

// Lanes of the even and odd neighbours: SwapPairs(x)[2i] = x[2i + 1] and the other way round.
#if defined(__AVX512F__)

inline Lanes Set(float x) { return _mm512_set1_ps(x); }
inline Lanes MulAdd(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a, b, c); }
inline Lanes Min(Lanes limit, Lanes x) { return _mm512_min_ps(limit, x); }  // NaN in x stays
inline Lanes Max(Lanes limit, Lanes x) { return _mm512_max_ps(limit, x); }
inline __mmask16 FirstLanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }

inline Lanes Load(const float* p) { return _mm512_loadu_ps(p); }
inline Lanes Load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(FirstLanes(n), p); }
inline Lanes Widen(__m256i bits) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16)); }
inline Lanes Load(const Bf16* p) { return Widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline Lanes Load(const Bf16* p, int64_t n) { return Widen(_mm256_maskz_loadu_epi16(FirstLanes(n), p)); }
inline Lanes Load(const F16* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline Lanes Load(const F16* p, int64_t n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(FirstLanes(n), p)); }

inline void Store(float* p, Lanes x) { _mm512_storeu_ps(p, x); }
inline void Store(float* p, Lanes x, int64_t n) { _mm512_mask_storeu_ps(p, FirstLanes(n), x); }
// Round to nearest even; NaN stays NaN.
inline __m256i Narrow(Lanes x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}
inline void Store(Bf16* p, Lanes x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), Narrow(x)); }
inline void Store(Bf16* p, Lanes x, int64_t n) { _mm256_mask_storeu_epi16(p, FirstLanes(n), Narrow(x)); }

inline Lanes SwapPairs(Lanes x) { return _mm512_permute_ps(x, 0xB1); }
// a * b - c in even lanes, a * b + c in odd lanes.
inline Lanes MulSubAdd(Lanes a, Lanes b, Lanes c) { return _mm512_fmaddsub_ps(a, b, c); }
// p[0], p[0], p[1], p[1], ...
inline Lanes LoadTwice(const float* p) {
  const __m512i index = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}
inline float Sum(Lanes x) { return _mm512_reduce_add_ps(x); }
// 1 / x for normal results: an estimate of 14 bits and a Newton step are faster than the division, 1e-7 relative.
inline Lanes Reciprocal(Lanes x) {
  const __m512 estimate = _mm512_rcp14_ps(x);
  return _mm512_fmadd_ps(estimate, _mm512_fnmadd_ps(x, estimate, _mm512_set1_ps(1.0f)), estimate);
}

#elif defined(__AVX2__)

inline Lanes Set(float x) { return _mm256_set1_ps(x); }
inline Lanes MulAdd(Lanes a, Lanes b, Lanes c) { return _mm256_fmadd_ps(a, b, c); }
inline Lanes Min(Lanes limit, Lanes x) { return _mm256_min_ps(limit, x); }  // NaN in x stays
inline Lanes Max(Lanes limit, Lanes x) { return _mm256_max_ps(limit, x); }

inline Lanes Load(const float* p) { return _mm256_loadu_ps(p); }
inline Lanes Widen(__m128i bits) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16)); }
inline Lanes Load(const Bf16* p) { return Widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline Lanes Load(const F16* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

inline void Store(float* p, Lanes x) { _mm256_storeu_ps(p, x); }
// Round to nearest even; NaN stays NaN.
inline __m128i Narrow(Lanes x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i words = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}
inline void Store(Bf16* p, Lanes x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), Narrow(x)); }

inline Lanes SwapPairs(Lanes x) { return _mm256_permute_ps(x, 0xB1); }
inline Lanes MulSubAdd(Lanes a, Lanes b, Lanes c) { return _mm256_fmaddsub_ps(a, b, c); }
inline Lanes LoadTwice(const float* p) {
  const __m256i index = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), index);
}
inline float Sum(Lanes x) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

#else

inline Lanes Set(float x) { return Lanes{x, x, x, x}; }
inline Lanes MulAdd(Lanes a, Lanes b, Lanes c) { return a * b + c; }
inline Lanes Min(Lanes limit, Lanes x) { return limit < x ? limit : x; }  // NaN in x stays
inline Lanes Max(Lanes limit, Lanes x) { return limit > x ? limit : x; }

inline Lanes Load(const float* p) {
  Lanes x;
  memcpy(&x, p, sizeof x);
  return x;
}
inline Lanes Load(const Bf16* p) {
  const IntLanes bits = {p[0].bits, p[1].bits, p[2].bits, p[3].bits};
  return reinterpret_cast<Lanes>(bits << 16);
}
// Exponent and mantissa moved to f32's place, then the exponent's offset corrected by a product (subnormals too).
inline float WidenHalf(F16 half) {
  const uint32_t magnitude = (half.bits & 0x7FFFu) << 13;
  float value;
  memcpy(&value, &magnitude, sizeof value);
  value *= 0x1p112f;
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((half.bits & 0x7C00u) == 0x7C00u) bits = 0x7F800000u | magnitude;
  bits |= (half.bits & 0x8000u) << 16;
  memcpy(&value, &bits, sizeof value);
  return value;
}
inline Lanes Load(const F16* p) { return Lanes{WidenHalf(p[0]), WidenHalf(p[1]), WidenHalf(p[2]), WidenHalf(p[3])}; }

inline void Store(float* p, Lanes x) { memcpy(p, &x, sizeof x); }
// Round to nearest even; NaN stays NaN.
inline void Store(Bf16* p, Lanes x) {
  for (int i = 0; i < kLanes; ++i) {
    uint32_t bits;
    memcpy(&bits, reinterpret_cast<const char*>(&x) + i * 4, sizeof bits);
    const bool nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
    bits = nan ? bits | 0x400000u : bits + 0x7FFFu + ((bits >> 16) & 1u);
    p[i].bits = static_cast<uint16_t>(bits >> 16);
  }
}

inline Lanes SwapPairs(Lanes x) { return Lanes{x[1], x[0], x[3], x[2]}; }
inline Lanes MulSubAdd(Lanes a, Lanes b, Lanes c) { return a * b + c * Lanes{-1, 1, -1, 1}; }
inline Lanes LoadTwice(const float* p) { return Lanes{p[0], p[0], p[1], p[1]}; }
inline float Sum(Lanes x) { return (x[0] + x[2]) + (x[1] + x[3]); }

#endif

#if !defined(__AVX512F__)
inline Lanes Reciprocal(Lanes x) { return Set(1.0f) / x; }

// The first n lanes (0 < n < kLanes); the others are zero. Nothing behind p[n - 1] is read or written.
template <class T>
inline Lanes Load(const T* p, int64_t n) {
  T part[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) part[i] = p[i];
  return Load(part);
}
template <class T>
inline void Store(T* p, Lanes x, int64_t n) {
  T part[kLanes];
  Store(part, x);
  for (int64_t i = 0; i < n; ++i) p[i] = part[i];
}
#endif

// What storing as bf16 and loading again gives.
inline Lanes RoundToBf16(Lanes x) {
  const IntLanes bits = reinterpret_cast<IntLanes>(x);
  const IntLanes rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) & -0x10000;
  return x == x ? reinterpret_cast<Lanes>(rounded) : x;
}

// e^x for |x| < 87, clamped beyond; about 1e-7 relative. 2^n * Taylor of degree 7 on |r| <= ln(2) / 2.
inline Lanes Exp(Lanes x) {
  const Lanes clamped = Max(Set(-87.0f), Min(Set(87.0f), x));
  const Lanes magic = Set(0x1.8p23f);  // rounds to an integer, which lands in the low bits
  const Lanes shifted = MulAdd(clamped, Set(1.44269504f), magic);
  const Lanes n = shifted - magic;
  Lanes r = MulAdd(n, Set(-0x1.62e4p-1f), clamped);
  r = MulAdd(n, Set(-0x1.7f7d1cp-20f), r);
  Lanes p = MulAdd(r, Set(1.0f / 5040), Set(1.0f / 720));
  p = MulAdd(p, r, Set(1.0f / 120));
  p = MulAdd(p, r, Set(1.0f / 24));
  p = MulAdd(p, r, Set(1.0f / 6));
  p = MulAdd(p, r, Set(0.5f));
  p = MulAdd(p, r, Set(1.0f));
  p = MulAdd(p, r, Set(1.0f));
  return reinterpret_cast<Lanes>(reinterpret_cast<IntLanes>(p) + (reinterpret_cast<IntLanes>(shifted) << 23));
}

inline Lanes SiluLanes(Lanes x) { return x * Reciprocal(Set(1.0f) + Exp(-x)); }

}  // namespace
}  // namespace tessera
