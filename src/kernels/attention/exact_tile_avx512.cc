#include <immintrin.h>
#include <stdint.h>

namespace tessera {
namespace {

struct Vec {
  static constexpr int kLanes = 16;
  __m512 value;

  static Vec Set(float x) { return {_mm512_set1_ps(x)}; }
  static Vec Load(const float* from) { return {_mm512_loadu_ps(from)}; }
  static void Store(Vec x, float* to) { _mm512_storeu_ps(to, x.value); }
  static Vec Add(Vec a, Vec b) { return {_mm512_add_ps(a.value, b.value)}; }
  static Vec Sub(Vec a, Vec b) { return {_mm512_sub_ps(a.value, b.value)}; }
  static Vec Mul(Vec a, Vec b) { return {_mm512_mul_ps(a.value, b.value)}; }
  static Vec MulAdd(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.value, b.value, c.value)}; }
  static Vec Max(Vec a, Vec b) { return {_mm512_max_ps(a.value, b.value)}; }
  static Vec Round(Vec x) { return {_mm512_roundscale_ps(x.value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
  static Vec PowerOfTwo(Vec whole) { return {_mm512_scalef_ps(_mm512_set1_ps(1.0f), whole.value)}; }
  static Vec ZeroWhereLess(Vec x, Vec a, Vec b) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a.value, b.value, _CMP_NLT_UQ), x.value)};
  }
  static int AnyNotEqual(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.value, b.value, _CMP_NEQ_UQ) != 0; }
  static Vec LoadBf16(const uint16_t* from) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
  }
  static Vec LoadF16(const uint16_t* from) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
  }
};

constexpr int kGroup = 4;

}  // namespace
}  // namespace tessera

#include "kernels/attention/exact_tile-inl.h"

namespace tessera {
const ExactTileKernels& ExactTileAvx512() noexcept { return kKernels; }
}  // namespace tessera
