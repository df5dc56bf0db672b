// Backends that exist in tests only: data sheets and speeds drawn from a seed, plans that must not be made.
#pragma once
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "attention/backend.h"

namespace tessera {

class FakeBackends {
 public:
  // A backend that serves f32 self attention of head dim 64 on CPUs without masks, at speed 1.
  AttentionBackend& Add(const std::string& name);
  // `count` backends with random abilities.
  static FakeBackends Draw(int count, uint64_t seed);

  std::vector<const AttentionBackend*> list() const;

 private:
  std::deque<std::string> names_;  // keep their addresses
  std::deque<AttentionBackend> backends_;
};

AttentionProblem DrawProblem(std::mt19937_64& random);
Device DrawDevice(std::mt19937_64& random);

}  // namespace tessera
