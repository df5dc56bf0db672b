// SageAttention on the CPU as a plan: learns each kv head's means and scales, then walks panels as flash attention
// does.
#pragma once
#include <memory>

#include "attention/backend.h"
#include "kernels/attention/sage.h"

namespace tessera {

// Of kPerBlock: how many queries and keys share a scale.
enum class SageBlocks { k64x64, k128x64, k256x128 };

struct SageOptions {
  SageGranularity granularity = SageGranularity::kPerRow;
  SageValues values = SageValues::kInt8;
  bool smooth_k = true;
  bool smooth_v = false;
  SageRounding rounding = SageRounding::kEven;
  SageBlocks blocks = SageBlocks::k128x64;
};

// At most kSageMostChannels head dims.
std::unique_ptr<AttentionPlan> MakeSagePlan(const AttentionProblem& problem, Isa isa, const SageOptions& options);

}  // namespace tessera
