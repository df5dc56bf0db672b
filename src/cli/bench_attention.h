// `tessera bench attention`: times attention backends on problem lines and checks sampled rows in double precision.
#pragma once
#include <string>
#include <vector>

#include "attention/registry.h"

namespace tessera {

enum class BenchFormat { kText, kJson };

struct BenchAttentionOptions {
  std::vector<std::string> problems;            // lines of ParseAttentionProblem
  std::vector<std::string> backends;            // names or aliases; "all" is every one that can serve
  const AttentionRegistry* registry = nullptr;  // that has them; null: what is built in
  Options options;                              // every backend takes those it knows; one that none knows is an error
  int runs = 5;                                 // timed, after one warm-up; the median counts
  BenchFormat format = BenchFormat::kText;
  std::string plot{};  // a PNG with a bar per measurement; "": none
};

// Prints one object (or row of a table) per problem and backend to stdout. Throws Error for lines and names that are
// wrong and for a named backend that cannot serve a problem, before anything runs; of "all" the refused ones are listed
// with their reasons. Returns the exit code.
int BenchAttention(const BenchAttentionOptions& options);

}  // namespace tessera
