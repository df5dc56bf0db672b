// Attention calls for SageAttention: operands with channel means, and every kernel of this machine.
#pragma once
#include <string>
#include <vector>

#include "attention/sage_plan.h"
#include "flash/attention_call.h"
#include "kernels/attention/sage_reference.h"

namespace tessera {

struct SageVariant {
  std::string name;
  Isa isa;
  const SageKernel* kernel;
};
// Every kernel this machine can run.
std::vector<SageVariant> SageVariants();

// Independent normal numbers; with channel means, among them keys of 8; queries that make scores of 30 as well.
enum class Operands { kNormal, kBiased, kSharp };
AttentionCall MakeSageCall(const std::string& line, Operands operands = Operands::kNormal);

// `out` and `lse` of the call hold the result.
void RunSage(AttentionCall* call, Isa isa, const SageOptions& options);

// sum |a - b| / sum |b|, and 1 - cosine.
struct Distance {
  double relative = 0, cosine_loss = 0;
};
Distance Between(const std::vector<double>& a, const std::vector<double>& b);

// The call's head through the plain recipe: batch 0, kv head head / (heads / kv_heads). Null `visible`: all see all.
SageReferenceResult SolveByRecipe(const AttentionCall& call, int head, const SageOptions& options,
                                  const Visibility& visible);

// Rows of one head as f32, [length][channels].
std::vector<float> HeadRows(const Rows& rows, int64_t length, int channels, int head);

std::string NameOf(SageValues values);
constexpr SageValues kAllSageValues[] = {SageValues::kInt8,    SageValues::kFp16,    SageValues::kFp8,
                                         SageValues::kFp8Plus, SageValues::kFp8Unit, SageValues::kFp8UnitFnuz};
constexpr SageGranularity kAllSageGranularities[] = {SageGranularity::kPerRow, SageGranularity::kPerThread,
                                                     SageGranularity::kPerWarp, SageGranularity::kPerBlock};

}  // namespace tessera
