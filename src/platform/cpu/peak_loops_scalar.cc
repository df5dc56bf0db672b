#include "platform/cpu/peak_loops.h"

namespace tessera {
namespace {
void Run(int64_t rounds) {
  float a[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (int64_t i = 0; i < rounds; ++i) {
    for (float& x : a) x = x * 0.999f + 0.001f;
    asm volatile("" : "+m"(a));
  }
}
}  // namespace
PeakLoop F32LoopScalar() noexcept { return {Run, 16}; }
}  // namespace tessera
