// A planner's decision in the form people compare: which key blocks every query block visits, and the block of every
// token.
#pragma once
#include "attention/attention_io.h"
#include "attention/block_plan.h"
#include "attention/problem.h"
#include "tensor/tensor.h"

namespace tessera {

// Token i of head h of batch b visits token j iff block_mask[b, h, block of i, block of j] is 1 (problem masks hide
// further pairs). In a plan with query masks every query is a block of its own.
struct PlanMasks {
  Tensor block_mask;        // u8 [batch, heads, q blocks, kv blocks]
  Tensor q_block_of_token;  // i32 [q_len], or [batch, heads, q_len] where heads have blocks of their own
  Tensor kv_block_of_token;
};

size_t BlockMaskBytes(const BlockPlan* plan, const AttentionProblem& problem) noexcept;
// Null is one block that sees everything.
PlanMasks MasksOf(const BlockPlan* plan, const AttentionProblem& problem);

// The row of block_mask that a query reads, and the blocks of the keys it may see.
struct MaskRow {
  const uint8_t* visible;       // [kv blocks]
  const int32_t* block_of_key;  // [kv_len]
};
MaskRow RowOf(const PlanMasks& masks, const AttentionProblem& problem, int64_t batch_head, int64_t query) noexcept;

// u8 [batch, heads, q_len, kv_len]: which keys each query sees by the plan and by causal, length and packing masks.
Tensor TokenMask(const PlanMasks& masks, const AttentionProblem& problem, const AttentionIO& io);

}  // namespace tessera
