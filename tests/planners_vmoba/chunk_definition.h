// VMoBA by its definition: chunks from coordinates, products and sums in doubles, whole sorts.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "planners_vsa/planner_call.h"

namespace tessera {

struct ChunkSettings {
  std::array<int64_t, 3> chunk = {1, 1, 1};  // tokens along t, h, w
  std::string mode = "topk", type = "query_head";
  int64_t top = 1;
  double threshold = 0.25;
};

// [batch * heads, seq, seq]: whether a query sees a key.
std::vector<uint8_t> DefinedPairs(const PlannerOperands& operands, const ChunkSettings& settings);

}  // namespace tessera
