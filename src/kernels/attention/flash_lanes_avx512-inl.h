// Sixteen f32 lanes of AVX-512 as flash attention uses them. Included by one ISA file each.
#pragma once
#include <immintrin.h>
#include <stdint.h>

namespace tessera {
namespace {

struct Avx512Lanes {
  using Vector = __m512;
  static constexpr int kWidth = 16;
  static constexpr int kTileRows = 8;     // broadcast operands of a register tile
  static constexpr int kTileVectors = 2;  // vectors of queries of a register tile

  static Vector Zero() { return _mm512_setzero_ps(); }
  static Vector Set(float x) { return _mm512_set1_ps(x); }
  static Vector Load(const float* from) { return _mm512_load_ps(from); }
  static void Store(float* to, Vector x) { _mm512_store_ps(to, x); }
  static void StoreHalf(float* to, Vector x, int half) {
    _mm256_store_ps(to, half == 0 ? _mm512_castps512_ps256(x) : _mm512_extractf32x8_ps(x, 1));
  }
  static Vector Add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector Sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static Vector Mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector Div(Vector a, Vector b) { return _mm512_div_ps(a, b); }
  static Vector Max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  static Vector Min(Vector a, Vector b) { return _mm512_min_ps(a, b); }
  // The larger of `most` and |x|; NaN counts as larger than every number. `most` has no sign.
  static Vector MaxMagnitude(Vector most, Vector x) {
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(most), _mm512_castps_si512(_mm512_abs_ps(x))));
  }
  static Vector MulAdd(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector MulSub(Vector a, Vector b, Vector c) { return _mm512_fmsub_ps(a, b, c); }
  static Vector RoundUp(Vector x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
  static Vector RoundEven(Vector x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // Rounds the significand to kBits bits, to nearest even.
  template <int kBits>
  static Vector RoundSignificand(Vector x) {
    constexpr int kDropped = 24 - kBits, kStep = 1 << kDropped;
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, kDropped), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(kStep / 2 - 1)), odd);
    return _mm512_castsi512_ps(_mm512_and_si512(rounded, _mm512_set1_epi32(-kStep)));
  }
  // `small` where |x| < limit.
  static Vector SelectSmall(Vector x, float limit, Vector small, Vector large) {
    return _mm512_mask_mov_ps(large, _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(limit), _CMP_LT_OQ), small);
  }
  static bool AnyAbove(Vector x, float limit) { return _mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_GT_OQ) != 0; }
  // Lanes whose bit is set keep x.
  static Vector Select(uint64_t bits, Vector x, Vector otherwise) {
    return _mm512_mask_mov_ps(otherwise, static_cast<__mmask16>(bits), x);
  }
  static Vector ZeroWhereZero(Vector probe, Vector x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(probe, _mm512_setzero_ps(), _CMP_NEQ_UQ), x);
  }
  // x * 2^n for a whole n held as n + 1.5 * 2^23 in `shifted`; 0 where t < limit.
  static Vector ScaleByPower(Vector x, Vector shifted, Vector t, float limit) {
    const __mmask16 keep = _mm512_cmp_ps_mask(t, _mm512_set1_ps(limit), _CMP_NLT_UQ);
    const __m512i power = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(_mm512_maskz_add_epi32(keep, _mm512_castps_si512(x), power));
  }

  static Vector Widen(const float* from) { return _mm512_loadu_ps(from); }
  static Vector WidenBf16(const uint16_t* from) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
  }
  static Vector WidenF16(const uint16_t* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static void Narrow(float* to, Vector x) { _mm512_storeu_ps(to, x); }
  // Round to nearest even; NaN stays NaN.
  static void NarrowBf16(uint16_t* to, Vector x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)));
  }
  static void NarrowF16(uint16_t* to, Vector x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }

  // rows[i] lane j becomes rows[j] lane i.
  static void Transpose(Vector (&rows)[kWidth]) {
    Vector pairs[kWidth], quads[kWidth];
#pragma GCC unroll 8
    for (int i = 0; i < kWidth; i += 2) {
      pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
      pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    // quads[4 g + c]: column 4 x + c of rows 4 g .. 4 g + 3 in its 128-bit quarter x.
#pragma GCC unroll 4
    for (int i = 0; i < kWidth; i += 4) {
      quads[i] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      quads[i + 1] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
      quads[i + 2] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      quads[i + 3] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const Vector even_low = _mm512_shuffle_f32x4(quads[c], quads[4 + c], 0x88);
      const Vector odd_low = _mm512_shuffle_f32x4(quads[c], quads[4 + c], 0xDD);
      const Vector even_high = _mm512_shuffle_f32x4(quads[8 + c], quads[12 + c], 0x88);
      const Vector odd_high = _mm512_shuffle_f32x4(quads[8 + c], quads[12 + c], 0xDD);
      rows[c] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
      rows[4 + c] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
      rows[8 + c] = _mm512_shuffle_f32x4(even_low, even_high, 0xDD);
      rows[12 + c] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xDD);
    }
  }
};

}  // namespace
}  // namespace tessera
