#include "flash/random_block_plan.h"

#include <algorithm>
#include <numeric>
#include <random>

namespace tessera {
namespace {

std::vector<int32_t> Offsets(int64_t length, int32_t step, bool ragged, std::mt19937* generator) {
  std::vector<int32_t> offsets = {0};
  while (offsets.back() < length) {
    const auto size = ragged ? static_cast<int32_t>((*generator)() % (2 * static_cast<uint32_t>(step))) : step;
    offsets.push_back(std::min(offsets.back() + size, static_cast<int32_t>(length)));
  }
  return offsets;
}

// Offsets of every head must have equally many blocks: short ones end with empty blocks.
void AppendHead(BlockPlan::Blocks* blocks, std::vector<int32_t> offsets, size_t count, int64_t length,
                std::mt19937* generator) {
  offsets.resize(count + 1, static_cast<int32_t>(length));
  blocks->offsets.insert(blocks->offsets.end(), offsets.begin(), offsets.end());
  if (generator == nullptr) return;
  std::vector<int32_t> permutation(static_cast<size_t>(length));
  std::iota(permutation.begin(), permutation.end(), 0);
  std::shuffle(permutation.begin(), permutation.end(), *generator);
  blocks->permutation.insert(blocks->permutation.end(), permutation.begin(), permutation.end());
}

void AppendBlocks(BlockPlan::Blocks* blocks, int32_t* count, int64_t length, int32_t step, PlanKind kind, int heads,
                  std::mt19937* generator) {
  std::vector<std::vector<int32_t>> offsets;
  for (int head = 0; head < (kind == PlanKind::kPerHead ? heads : 1); ++head) {
    offsets.push_back(Offsets(length, step, kind != PlanKind::kAligned, generator));
    *count = std::max(*count, static_cast<int32_t>(offsets.back().size()) - 1);
  }
  const bool permutes = kind == PlanKind::kPermuted || kind == PlanKind::kPerHead;
  for (auto& of_head : offsets) {
    AppendHead(blocks, std::move(of_head), static_cast<size_t>(*count), length, permutes ? generator : nullptr);
  }
}

}  // namespace

BlockPlan RandomPlan(const AttentionProblem& problem, PlanKind kind, int32_t q_step, bool query_masks) {
  std::mt19937 generator(17);
  BlockPlan plan;
  plan.per_head = kind == PlanKind::kPerHead;
  const int heads = static_cast<int>(problem.batch) * problem.heads;
  AppendBlocks(&plan.q, &plan.q_blocks, problem.q_len, q_step, kind, heads, &generator);
  AppendBlocks(&plan.kv, &plan.kv_blocks, problem.kv_len, 64, kind, heads, &generator);
  if (query_masks) plan.mask_words = (2 * q_step + 63) / 64;
  plan.row_begin = {0};
  for (int64_t row = 0; row < heads * int64_t{plan.q_blocks}; ++row) {
    for (int32_t n = 0; n < plan.kv_blocks; ++n) {
      if (row % 5 == 4 || generator() % 2 == 0) continue;
      plan.kv_list.push_back(n);
      for (int word = 0; word < plan.mask_words; ++word) {
        plan.query_masks.push_back((uint64_t{generator()} << 32 | generator()) |
                                   (generator() % 3 == 0 ? ~uint64_t{0} : 0));
      }
    }
    plan.row_begin.push_back(static_cast<int64_t>(plan.kv_list.size()));
  }
  return plan;
}

std::vector<bool> VisiblePairs(const AttentionProblem& problem, const BlockPlan& plan) {
  const auto q_len = static_cast<size_t>(problem.q_len), kv_len = static_cast<size_t>(problem.kv_len);
  const auto heads = static_cast<size_t>(problem.batch * problem.heads);
  std::vector<bool> pairs(heads * q_len * kv_len);
  const auto token = [&](const BlockPlan::Blocks& blocks, size_t length, size_t head, size_t position) {
    if (blocks.permutation.empty()) return position;
    return static_cast<size_t>(blocks.permutation[(plan.per_head ? head * length : 0) + position]);
  };
  for (size_t head = 0; head < heads; ++head) {
    const auto nq = static_cast<size_t>(plan.q_blocks), nkv = static_cast<size_t>(plan.kv_blocks);
    const int32_t* q_offsets = plan.q.offsets.data() + (plan.per_head ? head * (nq + 1) : 0);
    const int32_t* kv_offsets = plan.kv.offsets.data() + (plan.per_head ? head * (nkv + 1) : 0);
    for (size_t row = 0; row < nq; ++row) {
      const auto begin = static_cast<size_t>(plan.row_begin[head * nq + row]);
      const auto end = static_cast<size_t>(plan.row_begin[head * nq + row + 1]);
      for (size_t entry = begin; entry < end; ++entry) {
        const int32_t n = plan.kv_list[entry];
        for (int32_t i = q_offsets[row]; i < q_offsets[row + 1]; ++i) {
          const auto bit = static_cast<size_t>(i - q_offsets[row]);
          const bool sees =
              plan.mask_words == 0 ||
              (plan.query_masks[entry * static_cast<size_t>(plan.mask_words) + bit / 64] >> bit % 64 & 1) != 0;
          for (int32_t j = kv_offsets[n]; sees && j < kv_offsets[n + 1]; ++j) {
            const size_t query = token(plan.q, q_len, head, static_cast<size_t>(i));
            pairs[(head * q_len + query) * kv_len + token(plan.kv, kv_len, head, static_cast<size_t>(j))] = true;
          }
        }
      }
    }
  }
  return pairs;
}

Visibility VisibilityOf(const AttentionCall& call, const BlockPlan& plan) {
  return [&call, pairs = VisiblePairs(call.problem, plan), masks = VisibilityOf(call)](int64_t batch, int head,
                                                                                       int64_t query, int64_t key) {
    const auto row = static_cast<size_t>((batch * call.problem.heads + head) * call.problem.q_len + query);
    return pairs[row * static_cast<size_t>(call.problem.kv_len) + static_cast<size_t>(key)] &&
           masks(batch, head, query, key);
  };
}

}  // namespace tessera
