#include "attention/merge.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "attention/registry.h"
#include "conformance/attention_oracle.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr float kNoKey = -std::numeric_limits<float>::infinity();
constexpr MergeShape kShape{2, 37, 3, 16};

// Packed results of torch_sdpa over keys [begin, end) of a packed f32 case.
struct Part {
  std::vector<float> out, lse;
  AttentionPartial partial() const { return {out.data(), lse.data()}; }
};

Part AttendPart(AttentionCase& attention, int64_t begin, int64_t end) {
  AttentionProblem problem = attention.problem();
  problem.kv_len = end - begin;
  AttentionIO io = attention.NewIO();
  const auto skip = [&](const void* elements, const BshdIn& rows) {
    return static_cast<const void*>(static_cast<const float*>(elements) + begin * rows.seq_stride);
  };
  io.k.elements = skip(io.k.elements, io.k);
  io.v.elements = skip(io.v.elements, io.v);
  Part part{std::vector<float>(static_cast<size_t>(problem.batch * problem.q_len * problem.heads * problem.head_dim)),
            std::vector<float>(static_cast<size_t>(problem.batch * problem.q_len * problem.heads))};
  io.out.elements = part.out.data();
  io.lse = part.lse.data();
  const auto plan = MakePlan(AttentionRegistry::BuiltIn().Find("torch_sdpa"), problem, CpuDevice(), {});
  GuardedMemory workspace(plan->workspace_bytes(), 64);
  plan->Run(io, workspace.bytes());
  return part;
}

AttentionCase WholeCase() {
  return AttentionCase({.problem = ParseAttentionProblem("f32 b2 h3/3 d16 q37 kv101 lse role=cross"), .seed = 9});
}

TEST(MergeAttention, PartsOfTheKeysGiveTheWhole) {
  AttentionCase attention = WholeCase();
  const AttentionTruth truth = SolveInDoubles(attention);
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{0, 101}, {0, 50, 101}, {0, 1, 7, 7, 60, 101}}) {
    std::vector<Part> parts;
    for (size_t i = 1; i < cuts.size(); ++i) parts.push_back(AttendPart(attention, cuts[i - 1], cuts[i]));
    std::vector<AttentionPartial> partials;
    for (const Part& part : parts) partials.push_back(part.partial());
    std::vector<float> out(parts[0].out.size()), lse(parts[0].lse.size());
    MergeAttention(partials, kShape, out.data(), lse.data());
    for (size_t i = 0; i < lse.size(); ++i) ASSERT_NEAR(lse[i], truth.lse[i], 1e-5);
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t s = 0; s < 37; ++s) {
        for (int64_t at = 0; at < 3 * 16; ++at) {
          const double wanted = truth.out[static_cast<size_t>(((b * 3 + at / 16) * 37 + s) * 16 + at % 16)];
          ASSERT_NEAR(out[static_cast<size_t>((b * 37 + s) * 48 + at)], wanted, 2e-6);
        }
      }
    }
  }
}

TEST(MergeAttention, ARowWithoutKeysInAnyPartIsZero) {
  const MergeShape shape{1, 1, 2, 2};
  const float nan = std::nanf("");
  const float out_a[] = {nan, nan, nan, nan}, lse_a[] = {kNoKey, kNoKey};
  const float out_b[] = {nan, nan, 3, 4}, lse_b[] = {kNoKey, 1.5f};
  const AttentionPartial partials[] = {{out_a, lse_a}, {out_b, lse_b}};
  float out[4], lse[2];
  MergeAttention(partials, shape, out, lse);
  EXPECT_EQ(out[0], 0);
  EXPECT_EQ(out[1], 0);
  EXPECT_EQ(lse[0], kNoKey);
  EXPECT_EQ(out[2], 3);
  EXPECT_EQ(out[3], 4);
  EXPECT_EQ(lse[1], 1.5f);
}

TEST(MergeAttention, LargeDifferencesKeepTheLargerPart) {
  const MergeShape shape{1, 1, 1, 1};
  const float a = 2, b = -7, low = -1000, high = 1000;
  const AttentionPartial partials[] = {{&a, &high}, {&b, &low}};
  float out = 0, lse = 0;
  MergeAttention(partials, shape, &out, &lse);
  EXPECT_EQ(out, 2);
  EXPECT_EQ(lse, 1000);
}

TEST(MergeAttention, MayWriteOverAPartAndGivesTheSameBytesForAnyThreads) {
  AttentionCase attention = WholeCase();
  const Part a = AttendPart(attention, 0, 30), b = AttendPart(attention, 30, 101);
  std::vector<float> out(a.out.size()), lse(a.lse.size());
  const AttentionPartial partials[] = {a.partial(), b.partial()};
  SetThreads(1);
  MergeAttention(partials, kShape, out.data(), lse.data());
  SetThreads(3);
  Part in_place = a;
  const AttentionPartial overwritten[] = {in_place.partial(), b.partial()};
  MergeAttention(overwritten, kShape, in_place.out.data(), in_place.lse.data());
  SetThreads(0);
  EXPECT_EQ(in_place.out, out);
  EXPECT_EQ(in_place.lse, lse);
}

}  // namespace
}  // namespace tessera
