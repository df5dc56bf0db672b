// Attention calls for SageAttention 3, and every kernel of this machine.
#pragma once
#include <string>
#include <vector>

#include "attention/nvfp4_plan.h"
#include "kernels/attention/nvfp4_reference.h"
#include "kernels_sage/sage_call.h"

namespace tessera {

struct Nvfp4Variant {
  std::string name;
  Isa isa;
  const Nvfp4Kernel* kernel;
};
// Every kernel this machine can run.
std::vector<Nvfp4Variant> Nvfp4Variants();

// `out` and `lse` of the call hold the result.
void RunNvfp4(AttentionCall* call, const Nvfp4Variant& variant, const Nvfp4Options& options = {});

// Every combination of the two options that round probabilities otherwise, then those of means.
std::vector<Nvfp4Options> AllNvfp4Options();
std::string NameOf(const Nvfp4Options& options);

// The call's head through the plain recipe: batch 0, kv head head / (heads / kv_heads). Null `visible`: all see all.
Nvfp4ReferenceResult SolveByNvfp4Recipe(const AttentionCall& call, int head, const Nvfp4Options& options,
                                        const Visibility& visible);

}  // namespace tessera
