// Register-only loops: each performs `rounds` rounds and returns how many operations one round counts.
#pragma once
#include <cstdint>

namespace tessera {

struct PeakLoop {
  void (*run)(int64_t rounds);  // null: not in this instruction set
  double operations_per_round;
};

PeakLoop F32LoopScalar() noexcept;
PeakLoop F32LoopAvx2() noexcept;
PeakLoop F32LoopAvx512() noexcept;
PeakLoop Bf16LoopAvx512() noexcept;
PeakLoop Int8LoopAvx512() noexcept;

}  // namespace tessera
