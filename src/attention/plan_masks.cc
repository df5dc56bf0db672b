#include "attention/plan_masks.h"

#include <algorithm>
#include <span>

#include "attention/exact_row.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

bool RowsAreTokens(const BlockPlan& plan) { return !plan.query_masks.empty(); }

int64_t Rows(const BlockPlan* plan, const AttentionProblem& problem) {
  if (plan == nullptr) return 1;
  return RowsAreTokens(*plan) ? problem.q_len : plan->q_blocks;
}

int64_t Columns(const BlockPlan* plan) { return plan == nullptr ? 1 : plan->kv_blocks; }

// Positions of one side for one batch entry and head.
struct Side {
  std::span<const int32_t> offsets, permutation;
  int64_t TokenAt(int64_t position) const {
    return permutation.empty() ? position : permutation[static_cast<size_t>(position)];
  }
};

Side SideOf(const BlockPlan::Blocks& blocks, int32_t count, int64_t length, int64_t set) {
  const auto offsets =
      std::span(blocks.offsets).subspan(static_cast<size_t>(set * (count + 1)), static_cast<size_t>(count) + 1);
  if (blocks.permutation.empty()) return {offsets, {}};
  return {offsets,
          std::span(blocks.permutation).subspan(static_cast<size_t>(set * length), static_cast<size_t>(length))};
}

void WriteBlocks(const Side& side, int32_t* block_of_token) {
  for (size_t block = 0; block + 1 < side.offsets.size(); ++block) {
    for (int64_t position = side.offsets[block]; position < side.offsets[block + 1]; ++position) {
      block_of_token[side.TokenAt(position)] = static_cast<int32_t>(block);
    }
  }
}

Tensor BlocksOfTokens(const BlockPlan& plan, const AttentionProblem& problem, const BlockPlan::Blocks& blocks) {
  const bool queries = &blocks == &plan.q;
  const int64_t length = queries ? problem.q_len : problem.kv_len;
  const int64_t sets = plan.per_head ? problem.batch * problem.heads : 1;
  Tensor tensor =
      Tensor::Zeros(plan.per_head ? Shape{problem.batch, problem.heads, length} : Shape{length}, DType::kI32);
  for (int64_t set = 0; set < sets; ++set) {
    WriteBlocks(SideOf(blocks, queries ? plan.q_blocks : plan.kv_blocks, length, set),
                tensor.mutable_data<int32_t>() + set * length);
  }
  return tensor;
}

Tensor Ascending(int64_t length) {
  Tensor tensor = Tensor::Empty({length}, DType::kI32);
  for (int64_t i = 0; i < length; ++i) tensor.mutable_data<int32_t>()[i] = static_cast<int32_t>(i);
  return tensor;
}

// Row `row` of the plan by whole blocks.
void WriteBlockRow(const BlockPlan& plan, int64_t row, uint8_t* visible) {
  for (int64_t e = plan.row_begin[static_cast<size_t>(row)]; e < plan.row_begin[static_cast<size_t>(row) + 1]; ++e) {
    visible[plan.kv_list[static_cast<size_t>(e)]] = 1;
  }
}

// Row `row` of the plan by single queries; `mask` is that of the batch entry and head.
void WriteQueryRows(const BlockPlan& plan, int64_t row, const Side& queries, uint8_t* mask) {
  const auto block = static_cast<size_t>(row % plan.q_blocks);
  const int64_t first = queries.offsets[block], count = queries.offsets[block + 1] - first;
  for (int64_t e = plan.row_begin[static_cast<size_t>(row)]; e < plan.row_begin[static_cast<size_t>(row) + 1]; ++e) {
    const uint64_t* words = plan.query_masks.data() + e * plan.mask_words;
    for (int64_t i = 0; i < count; ++i) {
      if ((words[i / 64] >> (i % 64) & 1) == 0) continue;
      mask[queries.TokenAt(first + i) * plan.kv_blocks + plan.kv_list[static_cast<size_t>(e)]] = 1;
    }
  }
}

}  // namespace

size_t BlockMaskBytes(const BlockPlan* plan, const AttentionProblem& problem) noexcept {
  return static_cast<size_t>(problem.batch * problem.heads * Rows(plan, problem) * Columns(plan));
}

PlanMasks MasksOf(const BlockPlan* plan, const AttentionProblem& problem) {
  const int64_t rows = Rows(plan, problem), columns = Columns(plan);
  PlanMasks masks;
  masks.block_mask = Tensor::Zeros({problem.batch, problem.heads, rows, columns}, DType::kU8);
  uint8_t* mask = masks.block_mask.mutable_data<uint8_t>();
  if (plan == nullptr) {
    std::fill_n(mask, masks.block_mask.numel(), uint8_t{1});
    masks.q_block_of_token = Tensor::Zeros({problem.q_len}, DType::kI32);
    masks.kv_block_of_token = Tensor::Zeros({problem.kv_len}, DType::kI32);
    return masks;
  }
  masks.kv_block_of_token = BlocksOfTokens(*plan, problem, plan->kv);
  masks.q_block_of_token = RowsAreTokens(*plan) ? Ascending(problem.q_len) : BlocksOfTokens(*plan, problem, plan->q);
  for (int64_t row = 0; row < problem.batch * problem.heads * plan->q_blocks; ++row) {
    const int64_t head = row / plan->q_blocks;
    if (RowsAreTokens(*plan)) {
      const Side queries = SideOf(plan->q, plan->q_blocks, problem.q_len, plan->per_head ? head : 0);
      WriteQueryRows(*plan, row, queries, mask + head * rows * columns);
    } else {
      WriteBlockRow(*plan, row, mask + row * columns);
    }
  }
  return masks;
}

MaskRow RowOf(const PlanMasks& masks, const AttentionProblem& problem, int64_t batch_head, int64_t query) noexcept {
  const auto tokens = [&](const Tensor& blocks, int64_t length) {
    return blocks.data<int32_t>() + (blocks.rank() == 3 ? batch_head * length : 0);
  };
  const int64_t rows = masks.block_mask.dim(2), columns = masks.block_mask.dim(3);
  const int64_t row = tokens(masks.q_block_of_token, problem.q_len)[query];
  return {masks.block_mask.data<uint8_t>() + (batch_head * rows + row) * columns,
          tokens(masks.kv_block_of_token, problem.kv_len)};
}

Tensor TokenMask(const PlanMasks& masks, const AttentionProblem& problem, const AttentionIO& io) {
  Tensor tensor = Tensor::Zeros({problem.batch, problem.heads, problem.q_len, problem.kv_len}, DType::kU8);
  uint8_t* mask = tensor.mutable_data<uint8_t>();
  ParallelFor(problem.batch * problem.heads * problem.q_len, 16, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const RowPlace place = RowAt(problem, index);
      const MaskRow row = RowOf(masks, problem, index / problem.q_len, place.query);
      const KeyRange keys = VisibleKeys(problem, io, place.batch, place.query);
      for (int64_t key = keys.begin; key < keys.end; ++key) {
        mask[index * problem.kv_len + key] = row.visible[row.block_of_key[key]];
      }
    }
  });
  return tensor;
}

}  // namespace tessera
