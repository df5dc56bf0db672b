// The rules, options and numerics of aiter_sage.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/registry.h"
#include "attention/rules.h"
#include "base/error.h"
#include "flash/random_block_plan.h"
#include "kernels_sage/sage_call.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const AttentionBackend& AiterSage() { return AttentionRegistry::BuiltIn().Find("aiter_sage"); }

constexpr SageOptions kRecipe{.granularity = SageGranularity::kPerBlock,
                              .values = SageValues::kFp8Unit,
                              .rounding = SageRounding::kAway,
                              .blocks = SageBlocks::k256x128};

Options One(const std::string& key, OptionValue value) {
  Options options;
  options.Set(key, std::move(value));
  return options;
}

void RunAiterSage(AttentionCall* call, const Options& options = {}) {
  call->problem.needs_lse = true;
  call->Run(*AiterSage().plan(call->problem, CpuDevice(), ResolveOptions(AiterSage(), options)));
}

TEST(AiterSage, RefusesWhatItsCallersCannotAskFor) {
  const auto reasons = [](const char* line) { return Refusals(AiterSage(), ParseAttentionProblem(line), CpuDevice()); };
  EXPECT_THAT(reasons("bf16 b2 h8/8 d128 q100 kv77 mask=none lse"), IsEmpty());
  EXPECT_THAT(reasons("f16 b1 h3/3 d72 q100 kv100 mask=none"), IsEmpty());
  EXPECT_THAT(reasons("f32 b1 h8/8 d128 q100 kv100 mask=none"), ElementsAre("dtype"));
  EXPECT_THAT(reasons("bf16 b1 h8/8 d128 q100 kv100 mask=causal"), ElementsAre("causal mask"));
  EXPECT_THAT(reasons("bf16 b1 h8/8 d128 q100 kv100 mask=causal_tl"), ElementsAre("top-left causal mask"));
  EXPECT_THAT(reasons("bf16 b1 h8/2 d128 q100 kv100 mask=none"), ElementsAre("grouped kv heads"));
  EXPECT_THAT(reasons("bf16 b1 h8/8 d128 q100 kv100 mask=lens"), ElementsAre("key lengths"));
  EXPECT_THAT(reasons("bf16 b1 h8/8 d128 q100 kv100 mask=varlen"), ElementsAre("packed sequences"));
  EXPECT_THAT(reasons("bf16 b1 h8/8 d257 q100 kv100 mask=bias"), ElementsAre("head dim", "bias or boolean mask"));
}

TEST(AiterSage, FollowsItsRecipe) {
  for (const auto& [word, values] :
       {std::pair{"e4m3fn", SageValues::kFp8Unit}, std::pair{"e4m3fnuz", SageValues::kFp8UnitFnuz}}) {
    for (const bool smooth_k : {true, false}) {
      SageOptions recipe = kRecipe;
      recipe.values = values;
      recipe.smooth_k = smooth_k;
      AttentionCall call = MakeSageCall("bf16 b1 h1/1 d72 q530 kv700 mask=none", Operands::kBiased);
      const SageReferenceResult wanted = SolveByRecipe(call, 0, recipe, nullptr);
      Options options = One("fp8", word);
      options.Set("smooth_k", smooth_k);
      RunAiterSage(&call, options);
      // The reference is not rounded to bf16.
      EXPECT_LE(Between(call.out.HeadsFirst(), wanted.out).relative, 3.5e-3) << word << smooth_k;
      for (size_t i = 0; i < wanted.lse.size(); ++i) ASSERT_NEAR(call.lse[i], wanted.lse[i], 5e-4) << i;
    }
  }
}

TEST(AiterSage, StaysWithinTheBoundsOfItsRecipe) {
  struct Bound {
    Operands operands;
    double relative, cosine_loss;
  };
  for (const Bound& bound : {Bound{Operands::kNormal, 0.05, 1.5e-3}, Bound{Operands::kBiased, 0.01, 1e-5},
                             Bound{Operands::kSharp, 0.04, 1e-3}}) {
    AttentionCall call = MakeSageCall("bf16 b1 h1/1 d128 q256 kv2048 mask=none", bound.operands);
    const Answer answer = call.Solve(VisibilityOf(call));
    for (const char* word : {"e4m3fn", "e4m3fnuz"}) {
      RunAiterSage(&call, One("fp8", word));
      const Distance distance = Between(call.out.HeadsFirst(), answer.out);
      EXPECT_LE(distance.relative, bound.relative) << word << static_cast<int>(bound.operands);
      EXPECT_LE(distance.cosine_loss, bound.cosine_loss) << word << static_cast<int>(bound.operands);
      EXPECT_LE(call.Compare(answer).lse, 0.02) << word;
    }
  }
}

TEST(AiterSage, WalksBlockLists) {
  for (const PlanKind kind : {PlanKind::kAligned, PlanKind::kRagged, PlanKind::kPermuted, PlanKind::kPerHead}) {
    AttentionCall call = MakeSageCall("bf16 b2 h3/3 d64 q300 kv390 mask=none");
    const BlockPlan plan = RandomPlan(call.problem, kind, 100, kind == PlanKind::kPerHead);
    const auto pairs = VisiblePairs(call.problem, plan);
    call.blocks = &plan;
    RunAiterSage(&call);
    const Answer answer = call.Solve([&](int64_t batch, int head, int64_t query, int64_t key) {
      return pairs[static_cast<size_t>(((batch * 3 + head) * 300 + query) * 390 + key)];
    });
    const Errors errors = call.Compare(answer);
    EXPECT_LE(errors.relative, 0.05) << static_cast<int>(kind);
    EXPECT_LE(errors.lse, 0.03) << static_cast<int>(kind);
  }
}

TEST(AiterSage, KnowsItsOptions) {
  EXPECT_THROW(ResolveOptions(AiterSage(), One("fp8", "e5m2")), Error);
  EXPECT_THROW(ResolveOptions(AiterSage(), One("pv", "fp8")), Error);
  EXPECT_EQ(AiterSage().caps.fidelity, Fidelity::kQuantized);
}

}  // namespace
}  // namespace tessera
