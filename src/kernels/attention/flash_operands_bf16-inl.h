// bf16 operands: pairs in 32-bit words, multiplied by dot products. Included by AVX-512 BF16 files.
#pragma once
#include <immintrin.h>
#include <stdint.h>

#include "kernels/attention/flash.h"
#include "kernels/attention/flash_lanes_avx512-inl.h"

namespace tessera {
namespace {

// bf16 pairs: neighbouring channels in the first product, neighbouring keys in the second.
struct Bf16Operands {
  using Lanes = Avx512Lanes;
  using Vector = __m512;
  using Word = uint32_t;
  using Operand = __m512i;
  static constexpr int kPair = 2;
  // Degree 4: 2.8e-6, far below the rounding of probabilities to bf16.
  static constexpr float kExp2[] = {1.0f, 0x1.62e12cp-1f, 0x1.ec0378p-3f, 0x1.c9fc46p-5f, 0x1.3a02ccp-7f};

  static Operand LoadOperand(const Word* from) { return _mm512_load_si512(from); }
  static Operand Broadcast(const Word* from) { return _mm512_set1_epi32(static_cast<int>(*from)); }
  static Vector Dot(Vector sum, Operand a, Operand b) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }

  // Probabilities are not negative, so adding half and cutting rounds half up.
  static Operand Pair(Vector first, Vector second) {
    const __m512i half = _mm512_set1_epi32(0x8000);
    const __m512i low = _mm512_srli_epi32(_mm512_add_epi32(_mm512_castps_si512(first), half), 16);
    const __m512i high = _mm512_add_epi32(_mm512_castps_si512(second), half);
    return _mm512_mask_blend_epi16(0xAAAAAAAAu, low, high);
  }
  static void StoreProbabilities(Word* to, const Vector* rows) { _mm512_store_si512(to, Pair(rows[0], rows[1])); }
  static void ScaleProbabilities(Word* row, Vector factor) {
    const __m512i pair = _mm512_load_si512(row);
    const Vector first = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
    const Vector second = _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32(-65536)));
    _mm512_store_si512(row, Pair(_mm512_mul_ps(first, factor), _mm512_mul_ps(second, factor)));
  }

  static Vector WordsOf(const BFloat16* row) { return _mm512_loadu_ps(row); }
  static Vector WordsAcross(const BFloat16* const* rows) {
    const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[0]));
    const __m256i second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[1]));
    const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16);
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_cvtepu16_epi32(first), high));
  }
};

}  // namespace
}  // namespace tessera
