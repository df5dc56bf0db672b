#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "attention/registry.h"
#include "conformance/attention_grid.h"
#include "conformance/attention_oracle.h"
#include "kernels/attention/exact.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<Isa> MachineIsas() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (isa <= MachineIsa()) all.push_back(isa);
  }
  return all;
}

class TorchSdpa : public ::testing::Test {
 protected:
  ~TorchSdpa() override {
    SetActiveIsa(MachineIsa());
    SetThreads(0);
  }
  static void Run(AttentionCase& attention) { RunIO(attention.problem(), attention.NewIO()); }
  static void RunIO(const AttentionProblem& problem, const AttentionIO& io) {
    const auto plan = MakePlan(AttentionRegistry::BuiltIn().Find("torch_sdpa"), problem, CpuDevice(), {});
    GuardedMemory workspace(plan->workspace_bytes(), 64);
    plan->Run(io, workspace.bytes());
  }
};

TEST_F(TorchSdpa, KeysThatNoQuerySeesMayHoldAnything) {
  for (const Isa isa : MachineIsas()) {
    SetActiveIsa(isa);
    for (CaseSpec spec : AttentionGrid(630)) {
      if (spec.seed % 16 != 0) continue;  // a sample is enough: the conformance suite runs all
      spec.poison = Poison::kUnseen;
      AttentionCase attention(spec);
      const AttentionTruth truth = SolveInDoubles(attention);
      Run(attention);
      ASSERT_EQ(Deviation(attention, truth, Fidelity::kExact), "") << Name(isa) << " " << spec.ToString();
    }
  }
}

// Values that only some queries see: the others must not notice what they hold.
TEST_F(TorchSdpa, ValuesHiddenFromAQueryDoNotReachIt) {
  for (const Isa isa : MachineIsas()) {
    SetActiveIsa(isa);
    for (const char* line : {"f32 b1 h2/1 d40 q70 kv70 mask=causal", "bf16 b1 h2/2 d64 q90 kv90 mask=bias",
                             "f16 b1 h1/1 d16 q50 kv50 mask=causal_tl+bias"}) {
      AttentionCase attention({.problem = ParseAttentionProblem(line), .seed = 11});
      const AttentionTruth truth = SolveInDoubles(attention);
      const AttentionProblem& p = attention.problem();
      for (const int64_t key : {3, 41}) {
        for (int64_t h = 0; h < p.kv_heads; ++h) {
          attention.mutable_v().Set(attention.v().At(0, key, h), std::nanf(""));
          attention.mutable_v().Set(attention.v().At(0, key, h) + 1, kInfinity);
        }
      }
      Run(attention);
      int untouched = 0;
      for (int64_t h = 0; h < p.heads; ++h) {
        for (int64_t i = 0; i < p.q_len; ++i) {
          const bool sees = attention.Visible(0, h, i, 3) || attention.Visible(0, h, i, 41);
          const float got = attention.out().Get(attention.out().At(0, i, h));
          if (sees) {
            EXPECT_TRUE(std::isnan(got)) << line << " query " << i;
            continue;
          }
          ++untouched;
          EXPECT_NEAR(got, truth.out[static_cast<size_t>((h * p.q_len + i) * p.head_dim)], 0.02)
              << line << " query " << i;
        }
      }
      EXPECT_GT(untouched, 2);
    }
  }
}

TEST_F(TorchSdpa, NaNInAQueryOrAVisibleKeyShows) {
  for (const Isa isa : MachineIsas()) {
    SetActiveIsa(isa);
    AttentionCase attention({.problem = ParseAttentionProblem("f32 b1 h1/1 d8 q20 kv20 mask=causal lse"), .seed = 2});
    attention.mutable_k().Set(attention.k().At(0, 12, 0), std::nanf(""));
    Run(attention);
    for (int64_t i = 0; i < 20; ++i) {
      EXPECT_EQ(std::isnan(attention.out().Get(attention.out().At(0, i, 0))), i >= 12) << i;
      EXPECT_EQ(std::isnan(attention.lse()[static_cast<size_t>(i)]), i >= 12) << i;
    }
  }
}

// Masks made of the most negative float, as checkpoints bring them: a row of nothing else averages all values.
TEST_F(TorchSdpa, FiniteBiasOfAnySizeIsAdded) {
  for (const Isa isa : MachineIsas()) {
    SetActiveIsa(isa);
    const float lowest = std::numeric_limits<float>::lowest();
    const std::vector<float> q = {1, 1}, k = {1, 2, 3}, v = {1, 2, 6},
                             bias = {lowest, lowest, lowest, lowest, 0, lowest};
    std::vector<float> out(2), lse(2);
    AttentionIO io;
    io.q = {q.data(), 2, 1, 1};
    io.k = {k.data(), 3, 1, 1};
    io.v = {v.data(), 3, 1, 1};
    io.out = {out.data(), 2, 1, 1};
    io.lse = lse.data();
    io.bias = {bias.data(), DType::kF32, 0, 0, 3};
    RunIO(ParseAttentionProblem("f32 h1 d1 q2 kv3 mask=bias lse role=cross"), io);
    EXPECT_FLOAT_EQ(out[0], 3);
    EXPECT_FLOAT_EQ(out[1], 2);
    EXPECT_FLOAT_EQ(lse[0], lowest);
    EXPECT_FLOAT_EQ(lse[1], 2);
  }
}

// The reference in plain loops agrees with the doubles, so that it can stand in for them at any size.
TEST_F(TorchSdpa, TheReferenceKernelIsTheDefinition) {
  for (const char* line : {"f32 b2 h4/2 d33 q30 kv47 mask=causal+lens lse role=cross",
                           "bf16 b1 h2/1 d64 q65 kv65 mask=varlen lse", "f16 b2 h2/2 d7 q20 kv20 mask=none"}) {
    AttentionCase attention({.problem = ParseAttentionProblem(line), .layout = Layout::kGaps, .seed = 21});
    const AttentionTruth truth = SolveInDoubles(attention);
    const AttentionProblem& p = attention.problem();
    const AttentionIO io = attention.NewIO();
    ExactAttention call;
    call.dtype = p.dtype;
    call.batch = p.batch;
    call.heads = p.heads;
    call.kv_heads = p.kv_heads;
    call.head_dim = p.head_dim;
    call.q_len = p.q_len;
    call.kv_len = p.kv_len;
    call.scale = p.softmax_scale();
    call.q = {io.q.elements, io.q.batch_stride, io.q.seq_stride, io.q.head_stride};
    call.k = {io.k.elements, io.k.batch_stride, io.k.seq_stride, io.k.head_stride};
    call.v = {io.v.elements, io.v.batch_stride, io.v.seq_stride, io.v.head_stride};
    call.out = {io.out.elements, io.out.batch_stride, io.out.seq_stride, io.out.head_stride};
    call.lse = io.lse;
    call.causal = (p.mask & kMaskCausal) != 0 ? CausalAlignment::kBottomRight : CausalAlignment::kNone;
    call.key_lengths = io.key_lengths.empty() ? nullptr : io.key_lengths.data();
    call.cu_seqlens_q = io.cu_seqlens_q.empty() ? nullptr : io.cu_seqlens_q.data();
    call.cu_seqlens_k = io.cu_seqlens_k.empty() ? nullptr : io.cu_seqlens_k.data();
    call.sequences = static_cast<int64_t>(io.cu_seqlens_q.size()) - 1;
    RunExactAttentionReference(call);
    EXPECT_EQ(Deviation(attention, truth, Fidelity::kExact), "") << line;
  }
}

TEST_F(TorchSdpa, ScratchDoesNotGrowWithTheLength) {
  const auto bytes = [](const char* line) {
    return MakePlan(AttentionRegistry::BuiltIn().Find("torch_sdpa"), ParseAttentionProblem(line), CpuDevice(), {})
        ->workspace_bytes();
  };
  EXPECT_EQ(bytes("f32 h1 d512 q64 kv64"), bytes("f32 h1 d512 q16384 kv16384"));
}

}  // namespace
}  // namespace tessera
