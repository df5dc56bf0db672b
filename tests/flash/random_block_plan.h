// Block plans as a planner might make them, drawn at random, and what they let through.
#pragma once
#include <vector>

#include "attention/block_plan.h"
#include "attention/problem.h"
#include "flash/attention_call.h"

namespace tessera {

enum class PlanKind { kAligned, kRagged, kPermuted, kPerHead };

// About half of the blocks, at random; the lists of some rows stay empty.
BlockPlan RandomPlan(const AttentionProblem& problem, PlanKind kind, int32_t q_step, bool query_masks);

// [batch * heads][q_len][kv_len]: what the plan lets through, in tokens.
std::vector<bool> VisiblePairs(const AttentionProblem& problem, const BlockPlan& plan);
// The same, and what the problem's own masks say.
Visibility VisibilityOf(const AttentionCall& call, const BlockPlan& plan);

}  // namespace tessera
