// How far SageAttention 3 is from its recipe and from attention in doubles, and what must not change its result.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "kernels_nvfp4/nvfp4_call.h"

namespace tessera {
namespace {

constexpr double kRecipe = 1e-3;  // sums in another order move codes whose number lies between two

void ExpectRecipe(AttentionCall* call, const Nvfp4Options& options, const Visibility& visible) {
  const Nvfp4ReferenceResult wanted = SolveByNvfp4Recipe(*call, 0, options, visible);
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    SCOPED_TRACE(Print(call->problem) + " " + variant.name + " " + NameOf(options));
    RunNvfp4(call, variant, options);
    EXPECT_LE(Between(call->out.HeadsFirst(), wanted.out).relative, kRecipe);
    for (size_t i = 0; i < wanted.lse.size(); ++i) {
      if (std::isinf(wanted.lse[i])) {
        ASSERT_EQ(call->lse[i], wanted.lse[i]) << i;
      } else {
        ASSERT_NEAR(call->lse[i], wanted.lse[i], 2e-3) << i;
      }
    }
  }
}

TEST(Nvfp4Recipe, IsWhatEveryKernelComputes) {
  for (const Operands operands : {Operands::kNormal, Operands::kBiased, Operands::kSharp}) {
    AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q200 kv700 mask=none", operands);
    for (const Nvfp4Options& options : AllNvfp4Options()) ExpectRecipe(&call, options, nullptr);
  }
}

TEST(Nvfp4Recipe, HoldsForEveryHeadDimAndLength) {
  for (const char* shape : {"d128 q129 kv257", "d40 q65 kv63", "d77 q17 kv300", "d1 q20 kv70", "d256 q70 kv190",
                            "d96 q1 kv1", "d128 q1 kv500"}) {
    AttentionCall call = MakeSageCall(fmt::format("f32 b1 h1/1 {} mask=none", shape));
    ExpectRecipe(&call, {}, nullptr);
  }
}

TEST(Nvfp4Recipe, HoldsUnderMasks) {
  for (const char* lengths : {"q200 kv200", "q40 kv170", "q170 kv40", "q130 kv500"}) {
    for (const char* mask : {"causal", "causal_tl"}) {
      AttentionCall call = MakeSageCall(fmt::format("f32 b1 h1/1 d48 {} mask={}", lengths, mask));
      ExpectRecipe(&call, {}, VisibilityOf(call));
    }
  }
  AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q100 kv400 mask=causal+lens", Operands::kBiased);
  call.key_lengths = {331};
  ExpectRecipe(&call, {}, VisibilityOf(call));
}

double LargestScore(const AttentionCall& call) {
  double most = 0;
  const AttentionProblem& p = call.problem;
  for (int64_t i = 0; i < p.q_len; ++i) {
    for (int64_t j = 0; j < p.kv_len; ++j) {
      double score = 0;
      for (int d = 0; d < p.head_dim; ++d) score += call.q.Get(0, i, 0, d) * call.k.Get(0, j, 0, d);
      most = std::max(most, std::abs(score) * static_cast<double>(p.softmax_scale()));
    }
  }
  return most;
}

void ExpectAccurate(Operands operands, double relative, double cosine_loss) {
  AttentionCall call = MakeSageCall("bf16 b1 h1/1 d128 q256 kv2048 mask=none", operands);
  const Answer answer = call.Solve(VisibilityOf(call));
  const double largest = LargestScore(call);
  for (const Nvfp4Options& options : AllNvfp4Options()) {
    if (!options.smooth_k) continue;
    SCOPED_TRACE(NameOf(options));
    RunNvfp4(&call, Nvfp4Variants().back(), options);
    const Distance distance = Between(call.out.HeadsFirst(), answer.out);
    EXPECT_LE(distance.relative, relative);
    EXPECT_LE(distance.cosine_loss, cosine_loss);
    for (size_t i = 0; i < answer.lse.size(); ++i) ASSERT_NEAR(call.lse[i], answer.lse[i], 0.04 + 0.04 * largest);
  }
}

TEST(Nvfp4Accuracy, HoldsForIndependentOperands) { ExpectAccurate(Operands::kNormal, 0.25, 0.025); }
TEST(Nvfp4Accuracy, HoldsForOperandsWithChannelMeans) { ExpectAccurate(Operands::kBiased, 0.05, 2e-4); }
TEST(Nvfp4Accuracy, HoldsForSharpScores) { ExpectAccurate(Operands::kSharp, 0.15, 0.015); }

double ErrorOf(AttentionCall* call, const Nvfp4Variant& variant, const Nvfp4Options& options) {
  RunNvfp4(call, variant, options);
  return Between(call->out.HeadsFirst(), call->Solve(VisibilityOf(*call)).out).relative;
}

TEST(Nvfp4Accuracy, LosesItsBiasWhenRoundedProbabilitiesAreSummed) {
  AttentionCall call = MakeSageCall("bf16 b1 h1/1 d64 q128 kv1024 mask=none", Operands::kBiased);
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    EXPECT_LE(ErrorOf(&call, variant, {.sum_quantized = true}), 0.6 * ErrorOf(&call, variant, {})) << variant.name;
  }
}

TEST(Nvfp4Accuracy, UsesTheScaleOfTheProblem) {
  for (const char* scale : {"0.5", "0.01"}) {
    AttentionCall call = MakeSageCall(fmt::format("f32 b1 h1/1 d48 q140 kv300 mask=none scale={}", scale));
    ExpectRecipe(&call, {}, nullptr);
  }
}

// Adding one vector to all keys shifts the log-sum-exp and nothing else, as long as the mean is taken out.
TEST(Nvfp4Smoothing, AbsorbsWhatAllKeysShare) {
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q130 kv500 mask=none");
    const double before = ErrorOf(&call, variant, {});
    const auto lse = call.lse;
    std::vector<double> shift(130);
    for (int d = 0; d < 64; ++d) {
      const double u = 50 * std::sin(d);
      for (int64_t j = 0; j < 500; ++j) call.k.Set(0, j, 0, d, call.k.Get(0, j, 0, d) + u);
      for (int64_t i = 0; i < 130; ++i) shift[static_cast<size_t>(i)] += call.q.Get(0, i, 0, d) * u / 8;
    }
    EXPECT_LE(ErrorOf(&call, variant, {}), 1.5 * before) << variant.name;
    for (size_t i = 0; i < 130; ++i) ASSERT_NEAR(call.lse[i] - lse[i], shift[i], 0.05 + 1e-5 * std::abs(shift[i]));
    EXPECT_GE(ErrorOf(&call, variant, {.smooth_k = false}), 3 * before) << "not smoothing must show";
  }
}

// Adds `factor` * sin to every query of [begin, end).
void Shift(AttentionCall* call, int64_t begin, int64_t end, double factor) {
  for (int64_t i = begin; i < end; ++i) {
    for (int d = 0; d < call->problem.head_dim; ++d) {
      call->q.Set(0, i, 0, d, call->q.Get(0, i, 0, d) + factor * std::sin(d));
    }
  }
}

TEST(Nvfp4Smoothing, AbsorbsWhatTheQueriesOfABlockShare) {
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q512 kv500 mask=none");
    const double before = ErrorOf(&call, variant, {});
    Shift(&call, 128, 256, 8);
    EXPECT_LE(ErrorOf(&call, variant, {}), 1.5 * before) << variant.name;
    const double per_block = ErrorOf(&call, variant, {}), per_head = ErrorOf(&call, variant, {.per_block_mean = false});
    EXPECT_GE(per_head, 1.2 * per_block) << "the mean of a head does not know of one block";
  }
}

TEST(Nvfp4Smoothing, AbsorbsWhatAllQueriesOfAHeadShare) {
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q300 kv500 mask=none");
    const double before = ErrorOf(&call, variant, {.per_block_mean = false});
    Shift(&call, 0, 300, 8);
    EXPECT_LE(ErrorOf(&call, variant, {.per_block_mean = false}), 1.5 * before) << variant.name;
  }
}

// A block that is not full is smoothed like a full one.
TEST(Nvfp4Smoothing, CountsTheQueriesThereAre) {
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q9 kv500 mask=none");
    const double before = ErrorOf(&call, variant, {});
    Shift(&call, 0, 9, 8);
    EXPECT_LE(ErrorOf(&call, variant, {}), 1.5 * before) << variant.name;
  }
}

TEST(Nvfp4Groups, OfHeadsEqualRepeatedHeads) {
  AttentionCall grouped = MakeSageCall("bf16 b1 h6/2 d64 q90 kv200 mask=none");
  AttentionCall repeated = MakeSageCall("bf16 b1 h6/6 d64 q90 kv200 mask=none");
  for (int64_t j = 0; j < 200; ++j) {
    for (int head = 0; head < 6; ++head) {
      for (int d = 0; d < 64; ++d) {
        repeated.k.Set(0, j, head, d, grouped.k.Get(0, j, head / 3, d));
        repeated.v.Set(0, j, head, d, grouped.v.Get(0, j, head / 3, d));
      }
    }
  }
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    RunNvfp4(&grouped, variant);
    RunNvfp4(&repeated, variant);
    EXPECT_EQ(grouped.out.bytes(), repeated.out.bytes()) << variant.name;
    EXPECT_EQ(grouped.lse, repeated.lse) << variant.name;
  }
}

TEST(Nvfp4Dtypes, GiveTheResultOfTheirValuesInF32) {
  for (const char* dtype : {"bf16", "f16"}) {
    AttentionCall call = MakeSageCall(fmt::format("{} b1 h2/1 d40 q70 kv150 mask=none", dtype));
    AttentionCall wide = MakeSageCall("f32 b1 h2/1 d40 q70 kv150 mask=none");
    for (int64_t i = 0; i < 150; ++i) {
      for (int d = 0; d < 40; ++d) {
        for (int head = 0; head < 2 && i < 70; ++head) wide.q.Set(0, i, head, d, call.q.Get(0, i, head, d));
        wide.k.Set(0, i, 0, d, call.k.Get(0, i, 0, d));
        wide.v.Set(0, i, 0, d, call.v.Get(0, i, 0, d));
      }
    }
    for (const Nvfp4Variant& variant : Nvfp4Variants()) {
      RunNvfp4(&call, variant);
      RunNvfp4(&wide, variant);
      EXPECT_LE(Between(call.out.HeadsFirst(), wide.out.HeadsFirst()).relative, 3e-3) << variant.name;
      EXPECT_EQ(call.lse, wide.lse) << variant.name;
    }
  }
}

}  // namespace
}  // namespace tessera
