// How far SageAttention is from attention in doubles, and what must not change its result.
#include <cmath>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "kernels_sage/sage_call.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr Isa kIsas[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16};

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

bool IsFp8(SageValues values) { return values >= SageValues::kFp8; }

struct Bound {
  Operands operands;
  double relative, cosine_loss;
};

void ExpectAccurate(SageValues values, const Bound& bound) {
  AttentionCall call = MakeSageCall("bf16 b1 h1/1 d128 q128 kv2048 mask=none", bound.operands);
  const Answer answer = call.Solve(VisibilityOf(call));
  const double largest = LargestScore(call);
  for (const SageGranularity granularity : kAllSageGranularities) {
    RunSage(&call, MachineIsa(), {.granularity = granularity, .values = values});
    const Distance distance = Between(call.out.HeadsFirst(), answer.out);
    SCOPED_TRACE(fmt::format("{} granularity {} operands {}: {} {}", NameOf(values), static_cast<int>(granularity),
                             static_cast<int>(bound.operands), distance.relative, distance.cosine_loss));
    EXPECT_LE(distance.relative, bound.relative);
    EXPECT_LE(distance.cosine_loss, bound.cosine_loss);
    for (size_t i = 0; i < answer.lse.size(); ++i) ASSERT_NEAR(call.lse[i], answer.lse[i], 0.01 + 0.005 * largest) << i;
  }
}

TEST(SageAccuracy, HoldsForIndependentOperands) {
  for (const SageValues values : kAllSageValues) {
    ExpectAccurate(values, {Operands::kNormal, IsFp8(values) ? 0.05 : 0.02, IsFp8(values) ? 1.5e-3 : 2e-4});
  }
}
TEST(SageAccuracy, HoldsForOperandsWithChannelMeans) {
  for (const SageValues values : kAllSageValues) {
    ExpectAccurate(values, {Operands::kBiased, IsFp8(values) ? 0.01 : 0.004, 1e-5});
  }
}
TEST(SageAccuracy, HoldsForSharpScores) {
  for (const SageValues values : kAllSageValues) ExpectAccurate(values, {Operands::kSharp, 0.04, 1e-3});
}

TEST(SageAccuracy, IsWithinTheBoundOfFlashAttention) {
  for (const char* line : {"bf16 b2 h4/2 d64 q300 kv300 mask=none", "f16 b1 h2/2 d96 q100 kv777 mask=none",
                           "f32 b1 h3/1 d128 q257 kv257 mask=causal"}) {
    AttentionCall call = MakeSageCall(line, Operands::kBiased);
    call.Run(Variant{"", MachineIsa(), FlashArithmetic::kF32});
    const auto flash = call.out.HeadsFirst();
    RunSage(&call, MachineIsa(), {});
    EXPECT_LE(Between(call.out.HeadsFirst(), flash).relative, 0.01) << line;
  }
}

TEST(SageAccuracy, HoldsForEveryLengthAndHeadDim) {
  for (const char* shape :
       {"d64 q1 kv1", "d64 q17 kv63", "d96 q64 kv64", "d128 q65 kv65", "d128 q1 kv257", "d72 q130 kv129",
        "d80 q3 kv511", "d1 q20 kv70", "d33 q65 kv130", "d160 q31 kv200", "d255 q40 kv100", "d256 q70 kv190"}) {
    for (const char* dtype : {"bf16", "f16", "f32"}) {
      AttentionCall call = MakeSageCall(fmt::format("{} b2 h2/2 {} mask=none", dtype, shape));
      const Answer answer = call.Solve(VisibilityOf(call));
      for (const SageVariant& variant : SageVariants()) {
        RunSage(&call, variant.isa, {});
        EXPECT_LE(Between(call.out.HeadsFirst(), answer.out).relative, 0.025) << Print(call.problem) << variant.name;
        EXPECT_TRUE(call.out.GapsAreUntouched());
      }
    }
  }
}

TEST(SageAccuracy, UsesTheScaleOfTheProblem) {
  for (const char* scale : {"0.5", "0.01"}) {
    AttentionCall call = MakeSageCall(fmt::format("f32 b1 h1/1 d48 q40 kv300 mask=none scale={}", scale));
    const Answer answer = call.Solve(VisibilityOf(call));
    RunSage(&call, MachineIsa(), {});
    EXPECT_LE(Between(call.out.HeadsFirst(), answer.out).relative, 0.05) << scale;
  }
}

// Adding one vector to all keys shifts the log-sum-exp and nothing else, as long as the mean is taken out.
TEST(SageSmoothing, AbsorbsWhatAllKeysShare) {
  for (const SageValues values : {SageValues::kInt8, SageValues::kFp16, SageValues::kFp8}) {
    AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q70 kv500 mask=none");
    const Answer answer = call.Solve(VisibilityOf(call));
    RunSage(&call, MachineIsa(), {.values = values});
    const double before = Between(call.out.HeadsFirst(), answer.out).relative;
    const auto lse = call.lse;
    std::vector<double> shift(70);
    for (int d = 0; d < 64; ++d) {
      const double u = 50 * std::sin(d);
      for (int64_t j = 0; j < 500; ++j) call.k.Set(0, j, 0, d, call.k.Get(0, j, 0, d) + u);
      for (int64_t i = 0; i < 70; ++i) shift[static_cast<size_t>(i)] += call.q.Get(0, i, 0, d) * u / 8;
    }
    RunSage(&call, MachineIsa(), {.values = values});
    EXPECT_LE(Between(call.out.HeadsFirst(), answer.out).relative, 2 * before) << NameOf(values);
    for (size_t i = 0; i < 70; ++i) ASSERT_NEAR(call.lse[i] - lse[i], shift[i], 0.02 + 1e-5 * std::abs(shift[i]));
    RunSage(&call, MachineIsa(), {.values = values, .smooth_k = false});
    EXPECT_GE(Between(call.out.HeadsFirst(), answer.out).relative, 2.5 * before) << "not smoothing must show";
  }
}

TEST(SageSmoothing, AbsorbsWhatAllValuesShare) {
  for (const SageValues values : kAllSageValues) {
    AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q70 kv500 mask=none");
    const SageOptions options{.values = values, .smooth_v = true};
    RunSage(&call, MachineIsa(), options);
    auto wanted = call.out.HeadsFirst();
    for (double& x : wanted) x += 25;
    for (int64_t j = 0; j < 500; ++j) {
      for (int d = 0; d < 64; ++d) call.v.Set(0, j, 0, d, call.v.Get(0, j, 0, d) + 25);
    }
    RunSage(&call, MachineIsa(), options);
    const auto got = call.out.HeadsFirst();
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 2e-2) << NameOf(values);
  }
}

// Weights are normalised by what was really added up.
TEST(SageSmoothing, KeepsConstantValuesInInt8) {
  AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q70 kv500 mask=none", Operands::kSharp);
  for (int64_t j = 0; j < 500; ++j) {
    for (int d = 0; d < 64; ++d) call.v.Set(0, j, 0, d, 3);
  }
  RunSage(&call, MachineIsa(), {});
  for (const double x : call.out.HeadsFirst()) ASSERT_NEAR(x, 3, 1e-5);
}

TEST(SageGroups, OfHeadsEqualRepeatedHeads) {
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
  for (const SageVariant& variant : SageVariants()) {
    RunSage(&grouped, variant.isa, {});
    RunSage(&repeated, variant.isa, {});
    EXPECT_EQ(grouped.out.bytes(), repeated.out.bytes()) << variant.name;
    EXPECT_EQ(grouped.lse, repeated.lse) << variant.name;
  }
}

TEST(SageKernels, AgreeOnEveryInstructionSet) {
  AttentionCall call = MakeSageCall("bf16 b1 h2/2 d96 q130 kv600 mask=none", Operands::kBiased);
  for (const SageValues values : kAllSageValues) {
    std::vector<double> first;
    for (const Isa isa : kIsas) {
      if (isa > MachineIsa()) continue;
      RunSage(&call, isa, {.values = values});
      if (first.empty()) first = call.out.HeadsFirst();
      EXPECT_LE(Between(call.out.HeadsFirst(), first).relative, 2e-3) << NameOf(values) << " " << Name(isa);
    }
  }
}

}  // namespace
}  // namespace tessera
