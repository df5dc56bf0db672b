// The instruction sets of this machine, and its defaults put back at the end of a test.
#pragma once
#include <vector>

#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {

inline std::vector<Isa> MachineIsas() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (isa <= MachineIsa()) all.push_back(isa);
  }
  return all;
}

class RestoreMachine {
 public:
  RestoreMachine() = default;
  ~RestoreMachine() {
    SetActiveIsa(MachineIsa());
    SetThreads(0);
  }
  RestoreMachine(const RestoreMachine&) = delete;
  RestoreMachine& operator=(const RestoreMachine&) = delete;
};

}  // namespace tessera
