// `tessera bench attention`: times attention backends on problem lines and checks sampled rows in double precision.
#pragma once
#include <string>
#include <vector>

#include "attention/registry.h"

namespace tessera {

enum class BenchFormat { kText, kJson };

struct BenchAttentionOptions {
  std::vector<std::string> problems;            // lines of ParseAttentionProblem
  std::vector<std::string> backends;            // names or aliases
  const AttentionRegistry* registry = nullptr;  // that has them; null: what is built in
  Options options;                              // of the backends; keys that one of them lacks are an error
  int runs = 5;                                 // timed, after one warm-up; the median counts
  BenchFormat format = BenchFormat::kText;
};

// Prints one object (or line) per problem and backend to stdout. Throws Error for lines and names that are wrong and
// for a backend that cannot serve a problem, before anything runs. Returns the exit code.
int BenchAttention(const BenchAttentionOptions& options);

}  // namespace tessera
