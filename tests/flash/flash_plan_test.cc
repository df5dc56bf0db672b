// Lengths, head dims, dtypes, grouped heads and magnitudes of unmasked flash attention.
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "flash/attention_call.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

void ExpectDense(const std::string& line) {
  AttentionCall call(line);
  call.ExpectRight(VisibilityOf(call));
}

TEST(FlashPlan, MatchesEveryLength) {
  for (const int length : {1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 80, 127, 129, 257, 300}) {
    for (const char* dtype : {"f32", "bf16"}) {
      ExpectDense(fmt::format("{} b1 h2/2 d64 q{} kv{} mask=none", dtype, length, length));
    }
  }
}

TEST(FlashPlan, MatchesQueriesAndKeysOfDifferentLengths) {
  for (const char* lengths : {"q1 kv513", "q513 kv1", "q17 kv200", "q130 kv7", "q64 kv320", "q3 kv1000"}) {
    for (const char* dtype : {"f32", "bf16", "f16"}) {
      ExpectDense(fmt::format("{} b2 h2/1 d40 {} mask=none", dtype, lengths));
    }
  }
}

TEST(FlashPlan, MatchesEveryHeadDim) {
  for (const int head_dim : {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 33, 40}) {
    for (const char* dtype : {"f32", "bf16", "f16"}) {
      ExpectDense(fmt::format("{} b1 h1/1 d{} q33 kv70 mask=none", dtype, head_dim));
    }
  }
  for (const int head_dim : {64, 72, 80, 96, 127, 128, 129, 160, 192, 255, 256}) {
    for (const char* dtype : {"f32", "bf16", "f16"}) {
      ExpectDense(fmt::format("{} b1 h1/1 d{} q65 kv130 mask=none", dtype, head_dim));
    }
  }
}

TEST(FlashPlan, SharesKeysAmongGroupedHeads) {
  for (const char* heads : {"h6/3", "h6/2", "h7/1", "h8/1"}) {
    ExpectDense(fmt::format("f32 b2 {} d24 q70 kv90 mask=none", heads));
    ExpectDense(fmt::format("bf16 b2 {} d24 q70 kv90 mask=none", heads));
  }
}

TEST(FlashPlan, UsesTheScaleOfTheProblem) {
  ExpectDense("f32 b1 h1/1 d48 q40 kv100 mask=none scale=0.5");
  ExpectDense("f32 b1 h1/1 d48 q40 kv100 mask=none scale=0.001");
}

// Scores near 100 carry f32 rounding of 1e-5.
TEST(FlashPlan, KeepsLargeScoresExact) {
  for (const char* dtype : {"f32", "bf16", "f16"}) {
    AttentionCall call(fmt::format("{} b1 h2/2 d64 q70 kv700 mask=none", dtype), 30);
    call.ExpectRight(VisibilityOf(call), 10);
  }
}

// Every panel holds larger scores than those before, so the reference is raised again and again.
TEST(FlashPlan, FollowsARisingMaximum) {
  for (const char* dtype : {"f32", "bf16"}) {
    AttentionCall call(fmt::format("{} b1 h1/1 d32 q70 kv1000 mask=none scale=1", dtype));
    for (int64_t token = 0; token < 1000; ++token) {
      for (int d = 0; d < 32; ++d) call.k.Set(0, token, 0, d, d == 0 ? static_cast<double>(token / 4) : 0.0);
    }
    for (int64_t token = 0; token < 70; ++token) call.q.Set(0, token, 0, 0, token % 2 == 0 ? 0.75 : -0.75);
    call.ExpectRight(VisibilityOf(call), 10);
  }
}

TEST(FlashPlan, WritesZeroAndMinusInfinityWithoutKeys) {
  AttentionCall call("f32 b2 h1/1 d16 q20 kv0 mask=none");
  call.ExpectRight(VisibilityOf(call));
}

TEST(FlashPlan, PassesNanOfVisibleOperandsOn) {
  AttentionCall call("f32 b1 h1/1 d16 q20 kv100 mask=none");
  call.q.Set(0, 7, 0, 3, std::nan(""));
  for (const Variant& variant : VariantsFor(DType::kF32)) {
    call.Run(variant);
    EXPECT_TRUE(std::isnan(call.out.Get(0, 7, 0, 0))) << variant.name;
    EXPECT_TRUE(std::isfinite(call.out.Get(0, 6, 0, 0))) << variant.name;
    EXPECT_TRUE(std::isfinite(call.out.Get(0, 8, 0, 0))) << variant.name;
  }
}

TEST(FlashPlan, GivesTheSameBytesForAnyNumberOfThreads) {
  const int before = Threads();
  for (const char* line : {"bf16 b2 h3/3 d64 q200 kv300 mask=none", "f32 b1 h4/2 d40 q300 kv300 mask=causal"}) {
    AttentionCall call(line);
    for (const Variant& variant : VariantsFor(call.problem.dtype)) {
      SetThreads(1);
      call.Run(variant);
      const auto out = call.out.bytes();
      const auto lse = call.lse;
      for (const int threads : {2, 3, 7}) {
        SetThreads(threads);
        call.Run(variant);
        EXPECT_EQ(out, call.out.bytes()) << line << " " << variant.name << " threads " << threads;
        EXPECT_EQ(lse, call.lse) << line << " " << variant.name << " threads " << threads;
      }
    }
  }
  SetThreads(before);
}

TEST(FlashPlan, BoundsItsWorkspace) {
  const auto problem = ParseAttentionProblem("bf16 b2 h24/24 d128 q32760 kv32760 mask=none");
  const auto plan = MakeFlashPlan(problem, Isa::kScalar, FlashArithmetic::kF32);
  EXPECT_LE(plan->workspace_bytes(), (size_t{256} << 20) + static_cast<size_t>(Threads()) * (size_t{6} << 20));
}

TEST(FlashPlan, PicksDotProductsOnlyWhereTheyPay) {
  Device device;
  device.isa = Isa::kAvx512Bf16;
  device.bf16_dot_pays = true;
  EXPECT_EQ(FlashArithmeticFor(DType::kBF16, device), FlashArithmetic::kBf16Dot);
  EXPECT_EQ(FlashArithmeticFor(DType::kF16, device), FlashArithmetic::kF32);
  EXPECT_EQ(FlashArithmeticFor(DType::kF32, device), FlashArithmetic::kF32);
  device.bf16_dot_pays = false;
  EXPECT_EQ(FlashArithmeticFor(DType::kBF16, device), FlashArithmetic::kF32);
}

}  // namespace
}  // namespace tessera
