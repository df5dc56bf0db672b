#include <immintrin.h>

#include "platform/cpu/peak_loops.h"

namespace tessera {
namespace {
void Run(int64_t rounds) {
  __m256 a[12];
#pragma GCC unroll 12
  for (int j = 0; j < 12; ++j) a[j] = _mm256_set1_ps(static_cast<float>(j));
  const __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) {
      a[j] = _mm256_fmadd_ps(a[j], x, y);
      asm volatile("" : "+x"(a[j]));
    }
  }
}
}  // namespace
PeakLoop F32LoopAvx2() noexcept { return {Run, 12 * 16}; }
}  // namespace tessera
