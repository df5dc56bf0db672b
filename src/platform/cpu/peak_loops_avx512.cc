#include <immintrin.h>

#include "platform/cpu/peak_loops.h"

namespace tessera {
namespace {
void Run(int64_t rounds) {
  __m512 a[16];
#pragma GCC unroll 16
  for (int j = 0; j < 16; ++j) a[j] = _mm512_set1_ps(static_cast<float>(j));
  const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) {
      a[j] = _mm512_fmadd_ps(a[j], x, y);
      asm volatile("" : "+v"(a[j]));
    }
  }
}
}  // namespace
PeakLoop F32LoopAvx512() noexcept { return {Run, 16 * 32}; }
}  // namespace tessera
