// Arithmetic peaks of this CPU, measured by register-only loops.
#pragma once

namespace tessera {

enum class PeakKind { kF32, kBf16, kInt8 };

// Operations per second (a multiply-add counts as two) of one thread, the best of a few runs of ~100 microseconds.
// 0 when the active instruction set cannot do it (bf16 and int8 below avx512_bf16).
double QuickPeak(PeakKind kind) noexcept;

// How many times faster than f32 one thread does `kind`, the median of pairs of runs one right after the other: what
// else the machine is doing slows both of a pair, so that the figure is the same on an idle and on a busy machine.
double RelativePeak(PeakKind kind) noexcept;

// All threads together, the median of `runs` runs of about 50 ms.
double MeasurePeak(PeakKind kind, int runs);

// Bytes per second of reading a large buffer with all threads, the median of `runs` runs.
double MeasureReadBandwidth(int runs);

}  // namespace tessera
