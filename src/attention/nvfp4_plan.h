// SageAttention 3 on the CPU as a plan: learns each kv head's mean key and each block's mean query, then walks panels
// as flash attention does.
#pragma once
#include <memory>

#include "attention/backend.h"
#include "kernels/attention/nvfp4.h"

namespace tessera {

struct Nvfp4Options {
  bool per_block_mean = true;  // queries lose the mean of their kNvfp4MeanQueries; else that of their head
  bool smooth_k = true;
  bool sum_quantized = false;   // see Nvfp4Format
  bool divide_rounded = false;  // see Nvfp4Format
};

// At most kNvfp4MostChannels head dims. kBf16Dot needs Isa::kAvx512Bf16; operands may be of any dtype.
std::unique_ptr<AttentionPlan> MakeNvfp4Plan(const AttentionProblem& problem, Isa isa, FlashArithmetic arithmetic,
                                             const Nvfp4Options& options);

}  // namespace tessera
