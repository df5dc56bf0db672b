#include <immintrin.h>

#include "platform/cpu/peak_loops.h"

namespace tessera {
namespace {

void RunBf16(int64_t rounds) {
  __m512 a[16];
#pragma GCC unroll 16
  for (int j = 0; j < 16; ++j) a[j] = _mm512_set1_ps(static_cast<float>(j));
  const auto x = (__m512bh)_mm512_set1_epi32(0x3F803F80);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) {
      a[j] = _mm512_dpbf16_ps(a[j], x, x);
      asm volatile("" : "+v"(a[j]));
    }
  }
}

void RunInt8(int64_t rounds) {
  __m512i a[16];
#pragma GCC unroll 16
  for (int j = 0; j < 16; ++j) a[j] = _mm512_set1_epi32(j);
  const __m512i x = _mm512_set1_epi8(1);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) {
      a[j] = _mm512_dpbusd_epi32(a[j], x, x);
      asm volatile("" : "+v"(a[j]));
    }
  }
}

}  // namespace
PeakLoop Bf16LoopAvx512() noexcept { return {RunBf16, 16 * 64}; }
PeakLoop Int8LoopAvx512() noexcept { return {RunInt8, 16 * 128}; }
}  // namespace tessera
