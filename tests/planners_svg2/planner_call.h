// Runs a planner with a kernel on tensors, and reads the decision back token by token.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "attention/backend.h"
#include "attention/block_plan.h"
#include "attention/problem.h"

namespace tessera {

// Operands of one call as f32, [batch, seq, heads, head_dim]; the call converts them to the problem's dtype.
struct PlannerCall {
  AttentionProblem problem;
  std::vector<float> q, k, v;
  std::vector<int32_t> key_lengths;
  AttentionPlace place = {};

  std::vector<float> out, lse;  // results
};

// Normal numbers from a seed.
PlannerCall RandomCall(const AttentionProblem& problem, uint64_t seed);

// Options of `backend` from a line "key=value ..."; values are whole numbers, fractions, true or false.
Options OptionsFrom(const std::string& line);
std::unique_ptr<AttentionPlan> PlanFor(const std::string& backend, const AttentionProblem& problem,
                                       const Options& options);
void RunCall(AttentionPlan& plan, PlannerCall* call);

// Exact dense attention of the call.
std::vector<float> DenseOut(const PlannerCall& call);

// What one head of one batch entry was decided, counted in blocks.
struct HeadDecision {
  std::vector<int32_t> q_labels, k_labels;  // block of every token
  std::vector<int32_t> q_sizes, k_sizes;
  std::vector<uint8_t> map;  // [q blocks][kv blocks]
};
HeadDecision DecisionOf(const BlockPlan& plan, const AttentionProblem& problem, int64_t set);

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace tessera
