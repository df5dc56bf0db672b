// `tessera bench machine`: measured peaks of this CPU, which every share in a benchmark refers to.
#pragma once
#include "cli/bench_attention.h"

namespace tessera {

struct BenchMachineOptions {
  int runs = 5;
  BenchFormat format = BenchFormat::kText;
};

// Prints one object to stdout: peaks in GFLOP/s (int8: Gop/s; 0 where the instruction set has none), read bandwidth in
// GB/s, cores, CPU name and instruction set. Returns the exit code.
int BenchMachine(const BenchMachineOptions& options);

}  // namespace tessera
