// Masks, block plans, broken and missing operands, and threads of SageAttention 3.
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "flash/random_block_plan.h"
#include "kernels_nvfp4/nvfp4_call.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Equal keys and values of 0 and 6 have exact codes: the result is the mean of the visible values, nothing rounded.
AttentionCall ExactCall(const std::string& line) {
  AttentionCall call(line);
  const AttentionProblem& p = call.problem;
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t j = 0; j < p.kv_len; ++j) {
      for (int head = 0; head < p.kv_heads; ++head) {
        for (int d = 0; d < p.head_dim; ++d) {
          call.k.Set(b, j, head, d, std::cos(d + head));
          call.v.Set(b, j, head, d, call.v.Get(b, j, head, d) > 0 ? 6 : 0);
        }
      }
    }
  }
  return call;
}

// On every instruction set; rows without keys must be 0 and -inf.
void ExpectExact(AttentionCall* call, const Visibility& visible) {
  const Answer answer = call->Solve(visible);
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    for (const Nvfp4Options& options : {Nvfp4Options{}, Nvfp4Options{.per_block_mean = false, .sum_quantized = true}}) {
      RunNvfp4(call, variant, options);
      const Errors errors = call->Compare(answer);
      const std::string where = Print(call->problem) + " " + variant.name + " " + NameOf(options);
      EXPECT_LE(errors.relative, call->problem.dtype == DType::kF32 ? 2e-6 : 2e-3) << where;
      EXPECT_LE(errors.lse, 1e-5) << where;
      EXPECT_FALSE(std::isnan(errors.most)) << where;
      EXPECT_TRUE(call->out.GapsAreUntouched()) << where;
    }
  }
}

TEST(Nvfp4Masks, AlignCausalMasksAtEitherCorner) {
  for (const char* mask : {"causal", "causal_tl"}) {
    for (const char* lengths :
         {"q1 kv1", "q65 kv65", "q200 kv200", "q40 kv170", "q170 kv40", "q300 kv3", "q330 kv600"}) {
      AttentionCall call = ExactCall(fmt::format("f32 b1 h2/1 d64 {} mask={}", lengths, mask));
      ExpectExact(&call, VisibilityOf(call));
    }
  }
}

TEST(Nvfp4Masks, LeaveHiddenKeysOutOfMeansAndScales) {
  for (const char* line : {"f32 b5 h2/2 d64 q50 kv400 mask=lens", "bf16 b5 h2/1 d40 q50 kv400 mask=lens",
                           "f16 b5 h2/2 d64 q150 kv400 mask=causal+lens"}) {
    AttentionCall call = ExactCall(line);
    call.key_lengths = {400, 0, 1, 64, 331};
    for (int64_t b = 0; b < 5; ++b) PoisonKeys(&call, b, call.key_lengths[static_cast<size_t>(b)]);
    ExpectExact(&call, VisibilityOf(call));
  }
}

// The keys up to the length, alone.
TEST(Nvfp4Masks, GiveTheBytesOfAShorterCall) {
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
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    RunNvfp4(&whole, variant);
    RunNvfp4(&part, variant);
    EXPECT_EQ(whole.out.bytes(), part.out.bytes()) << variant.name;
    EXPECT_EQ(whole.lse, part.lse) << variant.name;
  }
}

// Queries behind the last sequence are broken: they belong to no mean.
TEST(Nvfp4Masks, KeepPackedSequencesApart) {
  for (const char* mask : {"varlen", "causal+varlen"}) {
    AttentionCall call = ExactCall(fmt::format("f32 b1 h4/2 d40 q300 kv340 mask={}", mask));
    call.cu_seqlens_q = {0, 5, 5, 70, 71, 200, 230, 290};
    call.cu_seqlens_k = {0, 9, 20, 20, 100, 229, 300, 330};
    PoisonKeys(&call, 0, 330);
    for (int64_t i = 290; i < 300; ++i) call.q.Set(0, i, 0, 1, kNan);
    ExpectExact(&call, PackedVisibility(call));
  }
}

// Adding a vector to the queries of one sequence only is absorbed by that sequence's mean.
TEST(Nvfp4Masks, TakeMeansPerSequence) {
  AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q120 kv400 mask=varlen");
  call.cu_seqlens_q = {0, 50, 120};
  call.cu_seqlens_k = {0, 200, 400};
  const Visibility visible = [](int64_t, int, int64_t query, int64_t key) { return (query < 50) == (key < 200); };
  for (const bool per_block : {true, false}) {
    AttentionCall shifted = call;
    for (int64_t i = 50; i < 120; ++i) {
      for (int d = 0; d < 64; ++d) shifted.q.Set(0, i, 0, d, call.q.Get(0, i, 0, d) + 8 * std::sin(d));
    }
    for (const Nvfp4Variant& variant : Nvfp4Variants()) {
      RunNvfp4(&call, variant, {.per_block_mean = per_block});
      RunNvfp4(&shifted, variant, {.per_block_mean = per_block});
      const double before = call.Compare(call.Solve(visible)).relative;
      EXPECT_LE(shifted.Compare(shifted.Solve(visible)).relative, 1.5 * before) << variant.name;
    }
  }
}

void ExpectPlan(const std::string& line, PlanKind kind, int32_t q_step, bool query_masks) {
  AttentionCall call = ExactCall(line);
  if ((call.problem.mask & kMaskKeyLengths) != 0) {
    call.key_lengths = {150, 77};
    for (int64_t b = 0; b < 2; ++b) PoisonKeys(&call, b, call.key_lengths[static_cast<size_t>(b)]);
  }
  const BlockPlan plan = RandomPlan(call.problem, kind, q_step, query_masks);
  call.blocks = &plan;
  ExpectExact(&call, VisibilityOf(call, plan));
}

TEST(Nvfp4Blocks, AreWalkedAsPlanned) {
  const std::string shape = "f32 b2 h4/2 d40 q260 kv390 mask=";
  ExpectPlan(shape + "none", PlanKind::kAligned, 128, false);
  ExpectPlan(shape + "causal", PlanKind::kAligned, 128, false);
  ExpectPlan(shape + "lens", PlanKind::kRagged, 100, false);
  ExpectPlan(shape + "lens", PlanKind::kPermuted, 64, false);
  ExpectPlan(shape + "none", PlanKind::kPerHead, 50, false);
  ExpectPlan(shape + "none", PlanKind::kPerHead, 100, true);
}

TEST(Nvfp4Blocks, AreAsAccurateAsWholeCalls) {
  for (const PlanKind kind : {PlanKind::kAligned, PlanKind::kRagged, PlanKind::kPermuted, PlanKind::kPerHead}) {
    AttentionCall call = MakeSageCall("bf16 b2 h4/2 d64 q260 kv390 mask=none", Operands::kBiased);
    const BlockPlan plan = RandomPlan(call.problem, kind, 100, true);
    call.blocks = &plan;
    const Answer answer = call.Solve(VisibilityOf(call, plan));
    for (const Nvfp4Variant& variant : Nvfp4Variants()) {
      RunNvfp4(&call, variant);
      EXPECT_LE(call.Compare(answer).relative, 0.1) << variant.name << " " << static_cast<int>(kind);
    }
  }
}

// Groups of 16 are positions: a plan that permutes tokens gives the result of permuted tokens.
TEST(Nvfp4Blocks, GroupKeysByPosition) {
  AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q128 kv256 mask=none"), moved = call;
  BlockPlan plan;
  plan.q_blocks = 1;
  plan.kv_blocks = 1;
  plan.q.offsets = {0, 128};
  plan.kv.offsets = {0, 256};
  for (int32_t position = 0; position < 256; ++position) plan.kv.permutation.push_back(position * 37 % 256);
  plan.row_begin = {0, 1};
  plan.kv_list = {0};
  for (int64_t position = 0; position < 256; ++position) {
    const int64_t token = plan.kv.permutation[static_cast<size_t>(position)];
    for (int d = 0; d < 64; ++d) {
      moved.k.Set(0, position, 0, d, call.k.Get(0, token, 0, d));
      moved.v.Set(0, position, 0, d, call.v.Get(0, token, 0, d));
    }
  }
  call.blocks = &plan;
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    RunNvfp4(&call, variant);
    RunNvfp4(&moved, variant);
    EXPECT_EQ(call.out.bytes(), moved.out.bytes()) << variant.name;
  }
}

TEST(Nvfp4Operands, MayBeMissing) {
  AttentionCall call = ExactCall("f32 b2 h1/1 d16 q20 kv0 mask=none");
  ExpectExact(&call, VisibilityOf(call));
}

TEST(Nvfp4Operands, OfZeroGiveZero) {
  AttentionCall call("f32 b1 h1/1 d64 q70 kv150 mask=none");
  for (int d = 0; d < 64; ++d) {
    for (int64_t j = 0; j < 150; ++j) {
      call.k.Set(0, j, 0, d, 0);
      call.v.Set(0, j, 0, d, 0);
    }
    for (int64_t i = 0; i < 70; ++i) call.q.Set(0, i, 0, d, 0);
  }
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    RunNvfp4(&call, variant);
    for (const double x : call.out.HeadsFirst()) ASSERT_EQ(x, 0) << variant.name;
    for (const float x : call.lse) ASSERT_NEAR(x, std::log(150), 1e-5) << variant.name;
  }
}

// A broken query breaks the mean of its 128, a broken key that of its head, a broken value its channel.
TEST(Nvfp4Operands, PassNanOfVisibleRowsOn) {
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    for (const double broken : {kNan, std::numeric_limits<double>::infinity()}) {
      AttentionCall call = MakeSageCall("f32 b1 h3/3 d64 q150 kv300 mask=none");
      call.q.Set(0, 7, 0, 3, broken);
      call.v.Set(0, 11, 1, 9, broken);
      call.k.Set(0, 80, 2, 2, broken);
      RunNvfp4(&call, variant);
      EXPECT_TRUE(std::isnan(call.out.Get(0, 7, 0, 0))) << variant.name;
      EXPECT_TRUE(std::isfinite(call.out.Get(0, 130, 0, 0))) << variant.name;
      EXPECT_TRUE(std::isnan(call.out.Get(0, 20, 1, 9))) << variant.name;
      EXPECT_TRUE(std::isfinite(call.out.Get(0, 20, 1, 8))) << variant.name;
      EXPECT_TRUE(std::isnan(call.out.Get(0, 20, 2, 8))) << variant.name;
      RunNvfp4(&call, variant, {.smooth_k = false, .sum_quantized = true});
      EXPECT_TRUE(std::isnan(call.out.Get(0, 20, 2, 8))) << variant.name;
    }
  }
}

TEST(Nvfp4Threads, GiveTheSameBytesForAnyNumber) {
  const int before = Threads();
  for (const char* line : {"bf16 b2 h3/3 d64 q200 kv300 mask=none", "f32 b1 h4/2 d40 q300 kv300 mask=causal"}) {
    AttentionCall call = MakeSageCall(line);
    for (const bool per_block : {true, false}) {
      const Nvfp4Options options{.per_block_mean = per_block};
      SetThreads(1);
      RunNvfp4(&call, Nvfp4Variants().back(), options);
      const auto out = call.out.bytes();
      const auto lse = call.lse;
      for (const int threads : {2, 5}) {
        SetThreads(threads);
        RunNvfp4(&call, Nvfp4Variants().back(), options);
        EXPECT_EQ(out, call.out.bytes()) << line << " threads " << threads;
        EXPECT_EQ(lse, call.lse) << line << " threads " << threads;
      }
    }
  }
  SetThreads(before);
}

}  // namespace
}  // namespace tessera
