// One call of sliding tile attention in f32, and what it ought to do, written from coordinates alone.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "attention/backend.h"
#include "attention/block_plan.h"

namespace tessera {

// Operands [batch, seq, heads, head_dim], packed.
class StaCall {
 public:
  StaCall(const AttentionProblem& problem, uint64_t seed);  // normal numbers; key lengths hide a part of the suffix

  // Fills `out` and, when the problem asks for it, `lse`.
  void Run(AttentionPlan& plan, const AttentionPlace& place = {});
  // So that Run allocates nothing itself.
  void Reserve(size_t workspace_bytes) { memory_.reserve(workspace_bytes + 64); }

  AttentionProblem problem;
  std::vector<float> q, k, v, out, lse;
  std::vector<int32_t> key_lengths;

 private:
  std::vector<std::byte> memory_;
};

using Sees = std::function<bool(int64_t sample, int head, int64_t query, int64_t key)>;

// [batch, seq, heads, head_dim] in doubles; keys beyond the key lengths are hidden, too.
std::vector<double> Solve(const StaCall& call, const Sees& sees);

struct Gap {
  double most = 0;      // |a - b|
  double relative = 0;  // sum |a - b| / sum |b|
};
// Over the rows that are not padding.
Gap Compare(const StaCall& call, const std::vector<double>& exact);

// Windows in tiles along t, h, w; sizes of a tile in tokens.
bool SeesThroughWindow(const VideoGrid& grid, const std::array<int64_t, 3>& tile, const std::array<int32_t, 3>& window,
                       int64_t query, int64_t key);

// [batch * heads][seq][seq] of a plan without query masks; null: everything.
std::vector<bool> VisiblePairs(const AttentionProblem& problem, const BlockPlan* plan);

AttentionProblem F32Problem(const std::string& line);

}  // namespace tessera
