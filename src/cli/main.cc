#include <cstdio>
#include "platform/cpu/cpu.h"
#include "platform/cpu/peak.h"
#include "parallel/parallel_for.h"
int main() {
  tessera::SetThreads(0);
  std::printf("%d %g %g %g %g\n", tessera::Bf16DotPays(), tessera::MeasurePeak(tessera::PeakKind::kF32, 3), tessera::MeasurePeak(tessera::PeakKind::kBf16, 3), tessera::MeasurePeak(tessera::PeakKind::kInt8, 3), tessera::MeasureReadBandwidth(3));
}
