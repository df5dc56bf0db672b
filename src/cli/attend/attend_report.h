// What `tessera attend` tells: figures for people and programs, tensors for files.
#pragma once
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/attend/attend_run.h"

namespace tessera {

// A call with what came of it.
struct AttendOutcome {
  const AttendCall& call;
  const AttendResult& result;
  const AttendErrors& errors;
  const AttendSetup& setup;
};

// backend problem rel_l1 one_minus_cos max_abs max_lse density median_ms, then further figures.
nlohmann::ordered_json ToJson(const AttendOutcome& outcome);
std::string ToText(const AttendOutcome& outcome);

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// out, lse, block_mask, q_block_of_token, kv_block_of_token, and token_mask where that is small.
NamedTensors ResultTensors(const AttendOutcome& outcome);
// The masks as above, and the lists as the kernel walks them: offsets, permutations, row_begin, kv_list, query_masks.
NamedTensors PlanTensors(const AttendOutcome& outcome);

}  // namespace tessera
