#include <immintrin.h>
#include <stdint.h>

namespace tessera {
namespace {

struct Vec {
  static constexpr int kLanes = 8;
  __m256 value;

  static Vec Set(float x) { return {_mm256_set1_ps(x)}; }
  static Vec Load(const float* from) { return {_mm256_loadu_ps(from)}; }
  static void Store(Vec x, float* to) { _mm256_storeu_ps(to, x.value); }
  static Vec Add(Vec a, Vec b) { return {_mm256_add_ps(a.value, b.value)}; }
  static Vec Sub(Vec a, Vec b) { return {_mm256_sub_ps(a.value, b.value)}; }
  static Vec Mul(Vec a, Vec b) { return {_mm256_mul_ps(a.value, b.value)}; }
  static Vec MulAdd(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.value, b.value, c.value)}; }
  static Vec Max(Vec a, Vec b) { return {_mm256_max_ps(a.value, b.value)}; }
  static Vec Round(Vec x) { return {_mm256_round_ps(x.value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
  static Vec PowerOfTwo(Vec whole) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(whole.value), _mm256_set1_epi32(127));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
  }
  static Vec ZeroWhereLess(Vec x, Vec a, Vec b) {
    return {_mm256_and_ps(_mm256_cmp_ps(a.value, b.value, _CMP_NLT_UQ), x.value)};
  }
  static int AnyNotEqual(Vec a, Vec b) { return _mm256_movemask_ps(_mm256_cmp_ps(a.value, b.value, _CMP_NEQ_UQ)) != 0; }
  static Vec LoadBf16(const uint16_t* from) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
  }
  static Vec LoadF16(const uint16_t* from) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
  }
};

constexpr int kGroup = 2;

}  // namespace
}  // namespace tessera

#include "kernels/attention/exact_tile-inl.h"

namespace tessera {
const ExactTileKernels& ExactTileAvx2() noexcept { return kKernels; }
}  // namespace tessera
