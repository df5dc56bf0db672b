// Runs the calls of `tessera attend` on a backend and measures them.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "attention/block_plan.h"
#include "attention/plan_masks.h"
#include "cli/attend/attend_input.h"
#include "platform/device.h"
#include "tensor/difference.h"

namespace tessera {

struct AttendSetup {
  const AttentionBackend& backend;
  Device device;
  int runs = 5;               // timed; the median counts
  int steps = 0, layers = 0;  // of the whole request; at least what the calls name
  uint64_t seed = 0;
};

struct AttendResult {
  Tensor out;  // [batch, q_len, heads, head_dim], the problem's dtype
  Tensor lse;  // f32 [batch, heads, q_len]; undefined when the backend has none
  std::optional<BlockPlan> decision;
  double density = 1;
  double seconds = 0;
  std::string findings;  // JSON of what a search has learnt, or ""
};

// In order. Neighbouring steps of one problem and configuration share a plan, so later ones start from what earlier
// ones have learnt. The results are those of the first of all timed passes. Throws Error{kUnsupported} with the
// reasons why the backend cannot serve, Error{kUsage} for its options.
std::vector<AttendResult> RunCalls(std::span<const AttendCall> calls, const AttendSetup& setup);

// Operands of a call; `result` has its outputs, or is null.
AttentionIO OperandsOf(const AttendCall& call, AttendResult* result);

struct AttendErrors {
  Difference out;      // against dense attention in doubles
  Difference planned;  // against attention over the planner's keys in doubles; empty when its mask is too large
  double max_lse = 0;  // largest |difference| from the dense log-sum-exp; NaN without one
  int64_t rows = 0;    // compared
};

// Over all rows, or over rows spread evenly when they are many. Rows of padding (queries beyond key_lengths of a grid)
// are left out.
AttendErrors ErrorsOf(const AttendCall& call, AttendResult& result);

}  // namespace tessera
