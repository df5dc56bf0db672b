// Eight f32 lanes of AVX2 as the panel kernels use them. Included by one ISA file each.
#pragma once
#include <immintrin.h>
#include <stdint.h>

namespace tessera {
namespace {

struct Avx2Lanes {
  using Vector = __m256;
  static constexpr int kWidth = 8;
  static constexpr int kTileRows = 4;
  static constexpr int kTileVectors = 3;

  static Vector Zero() { return _mm256_setzero_ps(); }
  static Vector Set(float x) { return _mm256_set1_ps(x); }
  static Vector Load(const float* from) { return _mm256_load_ps(from); }
  static void Store(float* to, Vector x) { _mm256_store_ps(to, x); }
  static void StoreHalf(float* to, Vector x, int half) {
    _mm_store_ps(to, half == 0 ? _mm256_castps256_ps128(x) : _mm256_extractf128_ps(x, 1));
  }
  static Vector Add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector Sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  static Vector Mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector Div(Vector a, Vector b) { return _mm256_div_ps(a, b); }
  static Vector Max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
  static Vector Min(Vector a, Vector b) { return _mm256_min_ps(a, b); }
  // The larger of `most` and |x|; NaN counts as larger than every number. `most` has no sign.
  static Vector MaxMagnitude(Vector most, Vector x) {
    return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(most), _mm256_castps_si256(Magnitude(x))));
  }
  static Vector MulAdd(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector MulSub(Vector a, Vector b, Vector c) { return _mm256_fmsub_ps(a, b, c); }
  static Vector RoundUp(Vector x) { return _mm256_ceil_ps(x); }
  static Vector Magnitude(Vector x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
  static Vector RoundEven(Vector x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // Rounds the significand to kBits bits, to nearest even.
  template <int kBits>
  static Vector RoundSignificand(Vector x) {
    constexpr int kDropped = 24 - kBits, kStep = 1 << kDropped;
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, kDropped), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(kStep / 2 - 1)), odd);
    return _mm256_castsi256_ps(_mm256_and_si256(rounded, _mm256_set1_epi32(-kStep)));
  }
  // `small` where |x| < limit.
  static Vector SelectSmall(Vector x, float limit, Vector small, Vector large) {
    return _mm256_blendv_ps(large, small, _mm256_cmp_ps(Magnitude(x), _mm256_set1_ps(limit), _CMP_LT_OQ));
  }
  static bool AnyAbove(Vector x, float limit) {
    return _mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_set1_ps(limit), _CMP_GT_OQ)) != 0;
  }
  static Vector Select(uint64_t bits, Vector x, Vector otherwise) {
    const __m256i lane_bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits & 0xFF)), lane_bits);
    return _mm256_blendv_ps(otherwise, x, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane_bits)));
  }
  static Vector ZeroWhereZero(Vector probe, Vector x) {
    return _mm256_and_ps(x, _mm256_cmp_ps(probe, _mm256_setzero_ps(), _CMP_NEQ_UQ));
  }
  static Vector ScaleByPower(Vector x, Vector shifted, Vector t, float limit) {
    const __m256i power = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    const Vector scaled = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), power));
    return _mm256_and_ps(scaled, _mm256_cmp_ps(t, _mm256_set1_ps(limit), _CMP_NLT_UQ));
  }

  static Vector Widen(const float* from) { return _mm256_loadu_ps(from); }
  static Vector WidenBf16(const uint16_t* from) {
    const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
  }
  static Vector WidenF16(const uint16_t* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static void Narrow(float* to, Vector x) { _mm256_storeu_ps(to, x); }
  static void NarrowBf16(uint16_t* to, Vector x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const Vector nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    const Vector kept = _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), nan);
    const __m256i words = _mm256_srli_epi32(_mm256_castps_si256(kept), 16);
    const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), packed);
  }
  static void NarrowF16(uint16_t* to, Vector x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }

  // rows[i] lane j becomes rows[j] lane i.
  static void Transpose(Vector (&rows)[kWidth]) {
    Vector pairs[kWidth], quads[kWidth];
    for (int i = 0; i < kWidth; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
      pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < kWidth; i += 4) {
      quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
      quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
    }
    for (int c = 0; c < 4; ++c) {
      rows[c] = _mm256_permute2f128_ps(quads[c], quads[4 + c], 0x20);
      rows[4 + c] = _mm256_permute2f128_ps(quads[c], quads[4 + c], 0x31);
    }
  }
};

}  // namespace
}  // namespace tessera
