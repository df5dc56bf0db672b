#include <algorithm>
#include <numeric>

#include "conformance/attention_case.h"

namespace tessera {
namespace {

int64_t Below(std::mt19937_64& random, int64_t limit) {
  return static_cast<int64_t>(random() % static_cast<uint64_t>(limit));
}

// Ragged blocks, some empty, some longer than a kernel's tile.
void DrawBlocks(BlockPlan::Blocks& blocks, int32_t count, int64_t length, std::mt19937_64& random) {
  std::vector<int32_t> offsets = {0, static_cast<int32_t>(length)};
  while (offsets.size() < static_cast<size_t>(count) + 1)
    offsets.push_back(static_cast<int32_t>(Below(random, length + 1)));
  std::sort(offsets.begin(), offsets.end());
  blocks.offsets.insert(blocks.offsets.end(), offsets.begin(), offsets.end());
}

void DrawPermutation(BlockPlan::Blocks& blocks, int64_t length, std::mt19937_64& random) {
  std::vector<int32_t> permutation(static_cast<size_t>(length));
  std::iota(permutation.begin(), permutation.end(), 0);
  for (int64_t i = length - 1; i > 0; --i) {
    std::swap(permutation[static_cast<size_t>(i)], permutation[static_cast<size_t>(Below(random, i + 1))]);
  }
  blocks.permutation.insert(blocks.permutation.end(), permutation.begin(), permutation.end());
}

void DrawLists(BlockPlan& plan, int64_t sets, std::mt19937_64& random) {
  plan.row_begin = {0};
  for (int64_t row = 0; row < sets * plan.q_blocks; ++row) {
    const bool empty = Below(random, 12) == 0;  // a query block that visits nothing
    for (int32_t block = 0; block < plan.kv_blocks; ++block) {
      if (!empty && Below(random, 5) < 3) plan.kv_list.push_back(block);
    }
    plan.row_begin.push_back(static_cast<int64_t>(plan.kv_list.size()));
  }
}

void DrawQueryMasks(BlockPlan& plan, std::mt19937_64& random) {
  int32_t largest = 0;
  for (size_t i = 1; i < plan.q.offsets.size(); ++i)
    largest = std::max(largest, plan.q.offsets[i] - plan.q.offsets[i - 1]);
  plan.mask_words = (largest + 63) / 64;
  plan.query_masks.resize(plan.kv_list.size() * static_cast<size_t>(plan.mask_words));
  const bool few = Below(random, 2) == 0;  // kernels may regroup queries that see little
  for (uint64_t& word : plan.query_masks) word = few ? random() & random() & random() : random() | random();
}

}  // namespace

BlockPlan DrawBlockPlan(PlanKind kind, const AttentionProblem& problem, std::mt19937_64& random) {
  BlockPlan plan;
  const int64_t sets = problem.batch * problem.heads;
  plan.per_head = kind == PlanKind::kPerHead;
  plan.q_blocks = static_cast<int32_t>(1 + Below(random, 6));
  plan.kv_blocks = static_cast<int32_t>(1 + Below(random, 9));
  for (int64_t set = 0; set < (plan.per_head ? sets : 1); ++set) {
    DrawBlocks(plan.q, plan.q_blocks, problem.q_len, random);
    DrawBlocks(plan.kv, plan.kv_blocks, problem.kv_len, random);
    if (kind == PlanKind::kPermuted || kind == PlanKind::kPerHead) {
      DrawPermutation(plan.q, problem.q_len, random);
      DrawPermutation(plan.kv, problem.kv_len, random);
    }
  }
  DrawLists(plan, sets, random);
  if (kind == PlanKind::kQueryMasks) DrawQueryMasks(plan, random);
  return plan;
}

}  // namespace tessera
