// Masks, block plans, broken and missing operands, and threads of SageAttention.
#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "flash/random_block_plan.h"
#include "kernels_sage/sage_call.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Every recipe on every instruction set; rows without keys must be 0 and -inf.
void ExpectRight(AttentionCall* call, const Visibility& visible) {
  const Answer answer = call->Solve(visible);
  for (const SageVariant& variant : SageVariants()) {
    for (const SageValues values : kAllSageValues) {
      const bool unit = values >= SageValues::kFp8Unit;
      RunSage(call, variant.isa,
              {.granularity = unit ? SageGranularity::kPerBlock : SageGranularity::kPerThread,
               .values = values,
               .rounding = unit ? SageRounding::kAway : SageRounding::kEven,
               .blocks = SageBlocks::k256x128});
      const Errors errors = call->Compare(answer);
      const std::string where = Print(call->problem) + " " + variant.name + " " + NameOf(values);
      EXPECT_LE(errors.relative, 0.05) << where;
      EXPECT_LE(errors.lse, 0.03) << where;
      EXPECT_FALSE(std::isnan(errors.most)) << where;
      EXPECT_TRUE(call->out.GapsAreUntouched()) << where;
    }
  }
}

TEST(SageMasks, AlignCausalMasksAtEitherCorner) {
  for (const char* mask : {"causal", "causal_tl"}) {
    for (const char* lengths :
         {"q1 kv1", "q65 kv65", "q200 kv200", "q40 kv170", "q170 kv40", "q300 kv3", "q330 kv600"}) {
      AttentionCall call = MakeSageCall(fmt::format("bf16 b1 h2/1 d64 {} mask={}", lengths, mask));
      ExpectRight(&call, VisibilityOf(call));
    }
  }
}

TEST(SageMasks, LeaveHiddenKeysOutOfMeansAndScales) {
  for (const char* line : {"f32 b5 h2/2 d64 q50 kv400 mask=lens", "bf16 b5 h2/1 d40 q50 kv400 mask=lens",
                           "f16 b5 h2/2 d64 q150 kv400 mask=causal+lens"}) {
    AttentionCall call = MakeSageCall(line);
    call.key_lengths = {400, 0, 1, 64, 331};
    for (int64_t b = 0; b < 5; ++b) PoisonKeys(&call, b, call.key_lengths[static_cast<size_t>(b)]);
    ExpectRight(&call, VisibilityOf(call));
  }
}

// The keys up to the length, alone.
TEST(SageMasks, GiveTheBytesOfAShorterCall) {
  AttentionCall whole = MakeSageCall("bf16 b1 h2/2 d64 q70 kv300 mask=lens"),
                part = MakeSageCall("bf16 b1 h2/2 d64 q70 kv170 mask=none");
  whole.key_lengths = {170};
  PoisonKeys(&whole, 0, 170);
  for (int64_t j = 0; j < 170; ++j) {
    for (int head = 0; head < 2; ++head) {
      for (int d = 0; d < 64; ++d) {
        part.k.Set(0, j, head, d, whole.k.Get(0, j, head, d));
        part.v.Set(0, j, head, d, whole.v.Get(0, j, head, d));
      }
    }
  }
  for (const SageVariant& variant : SageVariants()) {
    for (const SageValues values : kAllSageValues) {
      RunSage(&whole, variant.isa, {.values = values, .smooth_v = true});
      RunSage(&part, variant.isa, {.values = values, .smooth_v = true});
      EXPECT_EQ(whole.out.bytes(), part.out.bytes()) << variant.name;
      EXPECT_EQ(whole.lse, part.lse) << variant.name;
    }
  }
}

TEST(SageMasks, KeepPackedSequencesApart) {
  for (const char* mask : {"varlen", "causal+varlen"}) {
    AttentionCall call = MakeSageCall(fmt::format("bf16 b1 h4/2 d40 q300 kv340 mask={}", mask));
    call.cu_seqlens_q = {0, 5, 5, 70, 71, 200, 230, 290};
    call.cu_seqlens_k = {0, 9, 20, 20, 100, 229, 300, 330};
    PoisonKeys(&call, 0, 330);
    ExpectRight(&call, PackedVisibility(call));
  }
}

// What a sequence's queries are scaled by does not depend on its neighbours.
TEST(SageMasks, ScaleQueriesOfPackedSequencesApart) {
  AttentionCall call = MakeSageCall("bf16 b1 h1/1 d40 q300 kv300 mask=varlen");
  call.cu_seqlens_q = call.cu_seqlens_k = {0, 130, 300};
  const SageOptions options{.granularity = SageGranularity::kPerBlock};
  for (const SageVariant& variant : SageVariants()) {
    RunSage(&call, variant.isa, options);
    const auto before = call.out.HeadsFirst();
    AttentionCall other = call;
    for (int d = 0; d < 40; ++d) other.q.Set(0, 129, 0, d, 40 * call.q.Get(0, 129, 0, d));
    RunSage(&other, variant.isa, options);
    const auto after = other.out.HeadsFirst();
    const auto same = [&](int64_t begin, int64_t end) {
      return std::equal(before.begin() + begin * 40, before.begin() + end * 40, after.begin() + begin * 40);
    };
    EXPECT_TRUE(same(130, 300)) << variant.name;
    EXPECT_FALSE(same(128, 130)) << variant.name;
  }
}

void ExpectPlan(const std::string& line, PlanKind kind, int32_t q_step, bool query_masks) {
  AttentionCall call = MakeSageCall(line);
  if ((call.problem.mask & kMaskKeyLengths) != 0) {
    call.key_lengths = {150, 77};
    for (int64_t b = 0; b < 2; ++b) PoisonKeys(&call, b, call.key_lengths[static_cast<size_t>(b)]);
  }
  const BlockPlan plan = RandomPlan(call.problem, kind, q_step, query_masks);
  call.blocks = &plan;
  ExpectRight(&call, VisibilityOf(call, plan));
}

TEST(SageBlocks, AreWalkedAsPlanned) {
  const std::string shape = "bf16 b2 h4/2 d40 q260 kv390 mask=";
  ExpectPlan(shape + "none", PlanKind::kAligned, 128, false);
  ExpectPlan(shape + "causal", PlanKind::kAligned, 128, false);
  ExpectPlan(shape + "lens", PlanKind::kRagged, 100, false);
  ExpectPlan(shape + "lens", PlanKind::kPermuted, 64, false);
  ExpectPlan(shape + "none", PlanKind::kPerHead, 50, false);
  ExpectPlan(shape + "none", PlanKind::kPerHead, 100, true);
}

TEST(SageOperands, OfZeroGiveTheMeanOfValues) {
  for (const SageVariant& variant : SageVariants()) {
    for (const SageValues values : kAllSageValues) {
      AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q70 kv150 mask=none");
      for (int d = 0; d < 64; ++d) {
        for (int64_t j = 0; j < 150; ++j) call.k.Set(0, j, 0, d, 0);
        for (int64_t j = 0; j < 150; ++j) call.v.Set(0, j, 0, d, d == 5 ? 0 : call.v.Get(0, j, 0, d));
        for (int64_t i = 0; i < 35; ++i) call.q.Set(0, i, 0, d, 0);
      }
      const Answer answer = call.Solve(VisibilityOf(call));
      for (const SageRounding rounding : {SageRounding::kEven, SageRounding::kAway}) {
        RunSage(&call, variant.isa, {.values = values, .rounding = rounding});
        const Errors errors = call.Compare(answer);
        EXPECT_LE(errors.relative, 0.05) << variant.name << " " << NameOf(values);
        EXPECT_LE(errors.lse, 1e-5) << variant.name << " " << NameOf(values);
      }
    }
  }
}

// Magnitudes whose scales are subnormal or zero round to nothing rather than to NaN.
TEST(SageOperands, MayBeTiny) {
  for (const SageVariant& variant : SageVariants()) {
    for (const SageValues values : kAllSageValues) {
      AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q70 kv150 mask=none");
      for (int64_t j = 0; j < 150; ++j) {
        call.k.Set(0, j, 0, 0, j * 1e-40);
        call.v.Set(0, j, 0, 1, j * 1e-40);
        call.v.Set(0, j, 0, 2, j == 3 ? 1e-44 : 0);
        for (int d = 1; d < 64; ++d) call.k.Set(0, j, 0, d, j * 1e-41);
      }
      for (const SageRounding rounding : {SageRounding::kEven, SageRounding::kAway}) {
        RunSage(&call, variant.isa, {.values = values, .rounding = rounding});
        for (const double x : call.out.HeadsFirst()) ASSERT_TRUE(std::isfinite(x)) << variant.name << NameOf(values);
        EXPECT_LE(std::abs(call.out.Get(0, 0, 0, 2)), 1e-30) << variant.name << NameOf(values);
      }
    }
  }
}

TEST(SageOperands, MayBeMissing) {
  AttentionCall call = MakeSageCall("f32 b2 h1/1 d16 q20 kv0 mask=none");
  ExpectRight(&call, VisibilityOf(call));
}

TEST(SageOperands, PassNanOfVisibleRowsOn) {
  for (const SageVariant& variant : SageVariants()) {
    for (const SageValues values : kAllSageValues) {
      AttentionCall call = MakeSageCall("f32 b1 h2/2 d64 q70 kv300 mask=none");
      call.q.Set(0, 7, 0, 3, kNan);
      call.v.Set(0, 11, 1, 9, kNan);
      RunSage(&call, variant.isa, {.values = values});
      const std::string where = variant.name + " " + NameOf(values);
      EXPECT_TRUE(std::isnan(call.out.Get(0, 7, 0, 0))) << where;
      EXPECT_TRUE(std::isfinite(call.out.Get(0, 6, 0, 0))) << where;
      EXPECT_TRUE(std::isnan(call.out.Get(0, 20, 1, 9))) << where;
      EXPECT_TRUE(std::isfinite(call.out.Get(0, 20, 1, 8))) << where;
      for (const bool smooth_k : {false, true}) {
        call.k.Set(0, 80, 1, 2, kNan);
        RunSage(&call, variant.isa, {.values = values, .smooth_k = smooth_k});
        EXPECT_TRUE(std::isnan(call.out.Get(0, 20, 1, 8))) << where;
        EXPECT_TRUE(std::isfinite(call.out.Get(0, 20, 0, 8))) << where;
      }
    }
  }
}

TEST(SageThreads, GiveTheSameBytesForAnyNumber) {
  const int before = Threads();
  for (const char* line : {"bf16 b2 h3/3 d64 q200 kv300 mask=none", "f32 b1 h4/2 d40 q300 kv300 mask=causal"}) {
    AttentionCall call = MakeSageCall(line);
    for (const SageValues values : kAllSageValues) {
      SetThreads(1);
      RunSage(&call, MachineIsa(), {.values = values});
      const auto out = call.out.bytes();
      const auto lse = call.lse;
      for (const int threads : {2, 5}) {
        SetThreads(threads);
        RunSage(&call, MachineIsa(), {.values = values});
        EXPECT_EQ(out, call.out.bytes()) << line << " " << NameOf(values) << " threads " << threads;
        EXPECT_EQ(lse, call.lse) << line << " " << NameOf(values) << " threads " << threads;
      }
    }
  }
  SetThreads(before);
}

}  // namespace
}  // namespace tessera
