// What must hold for any grid, text, batch and number of heads.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "attention/allocation_count.h"
#include "parallel/parallel_for.h"
#include "planners_svg2/planner_call.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr const char* kFew =
    "svg2_num_q_centroids=4 svg2_num_k_centroids=6 svg2_kmeans_iter_init=4 svg2_top_p_kmeans=0.5 "
    "svg2_min_kc_ratio=0.0 svg2_first_layers_fp=0.0 svg2_first_times_fp=0.0 ";

Options Few(const std::string& more = "") {
  Options options = OptionsFrom(kFew);
  const Options given = OptionsFrom(more);
  for (const auto& [key, value] : given.values()) options.Set(key, value);
  return options;
}

class RestoreThreads {
 public:
  ~RestoreThreads() { SetThreads(0); }
};

class Svg2Problems : public ::testing::TestWithParam<const char*> {
 protected:
  PlannerCall Call(uint64_t seed = 7) const {
    PlannerCall call = RandomCall(ParseAttentionProblem(GetParam()), seed);
    for (int64_t batch = 0; batch < call.problem.batch; ++batch) {
      call.key_lengths.push_back(static_cast<int32_t>(call.problem.kv_len - 5 - 3 * batch));
    }
    return call;
  }
};

// Rows that are not padding.
std::vector<float> ValidRows(const PlannerCall& call, const std::vector<float>& rows) {
  if ((call.problem.mask & kMaskKeyLengths) == 0) return rows;
  std::vector<float> valid;
  const int64_t row = int64_t{call.problem.heads} * call.problem.head_dim;
  for (int64_t batch = 0; batch < call.problem.batch; ++batch) {
    const auto begin = rows.begin() + batch * call.problem.q_len * row;
    valid.insert(valid.end(), begin, begin + call.key_lengths[static_cast<size_t>(batch)] * row);
  }
  return valid;
}

TEST_P(Svg2Problems, KeepingEverythingIsDense) {
  for (const char* all :
       {"svg2_top_p_kmeans=1.0", "svg2_min_kc_ratio=1.0", "svg2_first_layers_fp=1.0", "svg2_first_times_fp=1.0"}) {
    PlannerCall call = Call();
    RunCall(*PlanFor("svg2", call.problem, Few(all)), &call);
    EXPECT_LE(LargestDifference(ValidRows(call, call.out), ValidRows(call, DenseOut(call))), 2e-5) << all;
  }
}

TEST_P(Svg2Problems, DecisionsAreWhatAKernelCanWalk) {
  PlannerCall call = Call();
  const auto plan = PlanFor("svg2", call.problem, Few());
  RunCall(*plan, &call);
  EXPECT_EQ(plan->decision()->Defect(call.problem.batch * call.problem.heads, call.problem.q_len, call.problem.kv_len),
            "");
  EXPECT_TRUE(plan->density() < 1 || call.problem.kv_len <= 6);
}

TEST_P(Svg2Problems, TheSameBytesForAnyNumberOfThreads) {
  const RestoreThreads restore;
  PlannerCall single = Call();
  SetThreads(1);
  RunCall(*PlanFor("svg2", single.problem, Few()), &single);
  for (const int threads : {2, 3}) {
    PlannerCall call = Call();
    SetThreads(threads);
    RunCall(*PlanFor("svg2", call.problem, Few()), &call);
    EXPECT_EQ(call.out, single.out) << threads << " threads";
  }
}

TEST_P(Svg2Problems, TextIsDenseAndAlwaysSeen) {
  PlannerCall call = Call();
  const AttentionProblem& problem = call.problem;
  const VideoGrid& grid = *problem.grid;
  if (grid.prefix + grid.suffix == 0) return;
  const auto plan = PlanFor("svg2", problem, Few());
  RunCall(*plan, &call);
  for (int64_t set = 0; set < problem.batch * problem.heads; ++set) {
    const HeadDecision decision = DecisionOf(*plan->decision(), problem, set);
    const bool lengths = (problem.mask & kMaskKeyLengths) != 0;
    const int64_t valid = lengths ? call.key_lengths[static_cast<size_t>(set / problem.heads)] : problem.kv_len;
    const size_t k_blocks = decision.k_sizes.size();
    for (int64_t i = 0; i < valid; ++i) {
      for (int64_t j = 0; j < valid; ++j) {
        const auto is_text = [&](int64_t n) { return n < grid.prefix || n >= problem.kv_len - grid.suffix; };
        if (!is_text(i) && !is_text(j)) continue;
        const auto row = static_cast<size_t>(decision.q_labels[static_cast<size_t>(i)]);
        ASSERT_TRUE(decision.map[row * k_blocks + static_cast<size_t>(decision.k_labels[static_cast<size_t>(j)])]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Svg2Problems,
                         ::testing::Values("f32 b1 h2/2 d16 q210 kv210 mask=none lse grid=5x6x7",
                                           "f32 b1 h3/3 d24 q83 kv83 mask=none grid=1x7x9+20",
                                           "f32 b2 h2/2 d8 q75 kv75 mask=none grid=2x5x6+0+15",
                                           "f32 b1 h4/2 d16 q130 kv130 mask=none lse grid=4x5x5+10+20",
                                           "f32 b2 h2/1 d40 q101 kv101 mask=lens grid=3x5x6+0+11",
                                           "f32 b2 h2/2 d16 q60 kv60 mask=lens grid=3x4x5",
                                           "f32 b1 h1/1 d16 q1 kv1 mask=none grid=1x1x1",
                                           "f32 b1 h1/1 d128 q3 kv3 mask=none grid=1x1x3"));

TEST(Svg2, ShufflingTokensChangesNothing) {
  PlannerCall call = RandomCall(ParseAttentionProblem("f32 b1 h2/2 d16 q120 kv120 mask=none grid=4x5x6"), 11);
  const DenoisingOutline outline{.q_init_tokens = {3, 50, 77, 110, 9, 31, 60, 100},
                                 .k_init_tokens = {1, 5, 40, 80, 90, 119, 2, 22, 33, 44, 55, 66}};
  const auto plan = PlanFor("svg2", call.problem, Few());
  plan->BeginRequest(outline);
  RunCall(*plan, &call);

  std::vector<int32_t> from(120), to(120);  // shuffled token i is token from[i]
  std::iota(from.begin(), from.end(), 0);
  std::shuffle(from.begin(), from.end(), std::mt19937_64(5));
  for (size_t i = 0; i < from.size(); ++i) to[static_cast<size_t>(from[i])] = static_cast<int32_t>(i);
  PlannerCall shuffled = call;
  const size_t row = 32;
  for (size_t i = 0; i < from.size(); ++i) {
    const size_t source = static_cast<size_t>(from[i]) * row;
    std::copy_n(call.q.begin() + static_cast<ptrdiff_t>(source), row,
                shuffled.q.begin() + static_cast<ptrdiff_t>(i * row));
    std::copy_n(call.k.begin() + static_cast<ptrdiff_t>(source), row,
                shuffled.k.begin() + static_cast<ptrdiff_t>(i * row));
    std::copy_n(call.v.begin() + static_cast<ptrdiff_t>(source), row,
                shuffled.v.begin() + static_cast<ptrdiff_t>(i * row));
  }
  DenoisingOutline of_shuffled = outline;
  for (int32_t& token : of_shuffled.q_init_tokens) token = to[static_cast<size_t>(token)];
  for (int32_t& token : of_shuffled.k_init_tokens) token = to[static_cast<size_t>(token)];
  plan->BeginRequest(of_shuffled);
  RunCall(*plan, &shuffled);
  std::vector<float> back(call.out.size());
  for (size_t i = 0; i < from.size(); ++i) {
    std::copy_n(shuffled.out.begin() + static_cast<ptrdiff_t>(i * row), row,
                back.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(from[i]) * row));
  }
  EXPECT_LE(LargestDifference(back, call.out), 1e-5);
}

// Queries and keys of five groups in directions far apart: group n of the queries attends to group n of the keys.
PlannerCall PlantedCall() {
  PlannerCall call = RandomCall(ParseAttentionProblem("f32 b1 h1/1 d16 q200 kv200 mask=none grid=2x10x10"), 13);
  for (size_t i = 0; i < 200; ++i) {
    const size_t group = i * 7 % 5;
    for (size_t d = 0; d < 16; ++d) {
      const float center = d == group ? 8.0f : 0.0f;
      call.q[i * 16 + d] = center + 0.1f * call.q[i * 16 + d];
      call.k[i * 16 + d] = center + 0.1f * call.k[i * 16 + d];
    }
  }
  return call;
}

TEST(Svg2, PlantedClustersAreFoundAndTheOthersDropped) {
  PlannerCall call = PlantedCall();
  const auto plan = PlanFor("svg2", call.problem,
                            Few("svg2_num_q_centroids=5 svg2_num_k_centroids=5 svg2_kmeans_iter_init=20 "
                                "svg2_top_p_kmeans=0.9"));
  // One start in every group.
  plan->BeginRequest({.q_init_tokens = {0, 1, 2, 3, 4}, .k_init_tokens = {10, 11, 12, 13, 14}});
  RunCall(*plan, &call);
  const HeadDecision decision = DecisionOf(*plan->decision(), call.problem, 0);
  for (size_t i = 0; i < 200; ++i) {
    EXPECT_EQ(decision.q_labels[i], decision.q_labels[i % 5]);
    EXPECT_EQ(decision.k_labels[i], decision.k_labels[i % 5]);
  }
  EXPECT_DOUBLE_EQ(plan->density(), 0.2);
  EXPECT_LE(LargestDifference(call.out, DenseOut(call)), 1e-4);
}

TEST(Svg2, KeysBeyondTheLengthsMayHoldAnything) {
  PlannerCall call = RandomCall(ParseAttentionProblem("f32 b1 h2/2 d16 q60 kv60 mask=lens grid=3x4x5"), 17);
  call.key_lengths = {47};
  const auto plan = PlanFor("svg2", call.problem, Few());
  PlannerCall poisoned = call;
  std::fill(poisoned.k.begin() + 47 * 32, poisoned.k.end(), NAN);
  std::fill(poisoned.v.begin() + 47 * 32, poisoned.v.end(), INFINITY);
  RunCall(*plan, &call);
  plan->BeginRequest({});
  RunCall(*plan, &poisoned);
  EXPECT_EQ(call.out, poisoned.out);
}

TEST(Svg2, PromptLengthKeepsPaddingApartAsKeyLengthsDo) {
  PlannerCall lengths = RandomCall(ParseAttentionProblem("f32 b1 h2/2 d16 q75 kv75 mask=lens grid=2x5x6+0+15"), 19);
  lengths.key_lengths = {66};
  PlannerCall prompt = lengths;
  prompt.problem.mask = kMaskNone;
  for (const char* dense : {"svg2_first_layers_fp=0.0", "svg2_first_layers_fp=1.0"}) {
    RunCall(*PlanFor("svg2", lengths.problem, Few(dense)), &lengths);
    RunCall(*PlanFor("svg2", prompt.problem, Few(std::string(dense) + " svg2_prompt_length=6")), &prompt);
    EXPECT_LE(LargestDifference(ValidRows(lengths, lengths.out), ValidRows(lengths, prompt.out)), 1e-6) << dense;
  }
}

TEST(Svg2, NothingIsKeptOfAnEarlierRequest) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h2/2 d16 q120 kv120 mask=none grid=4x5x6");
  PlannerCall first = RandomCall(problem, 23), second = RandomCall(problem, 29), fresh = second;
  const auto plan = PlanFor("svg2", problem, Few());
  RunCall(*plan, &first);
  plan->BeginRequest({});
  RunCall(*plan, &second);
  RunCall(*PlanFor("svg2", problem, Few()), &fresh);
  EXPECT_EQ(second.out, fresh.out);
}

TEST(Svg2, PassesAndLayersDoNotShareCentroids) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h2/2 d16 q120 kv120 mask=none grid=4x5x6");
  for (const AttentionPlace other : {AttentionPlace{0, 1}, AttentionPlace{1, 0}}) {
    PlannerCall call = RandomCall(problem, 31), between = RandomCall(problem, 37), alone = call;
    between.place = other;
    const auto plan = PlanFor("svg2", problem, Few()), undisturbed = PlanFor("svg2", problem, Few());
    for (AttentionPlan* one : {plan.get(), undisturbed.get()})
      one->BeginRequest({.steps = 2, .layers = 2, .passes = 2});
    RunCall(*undisturbed, &alone);
    RunCall(*undisturbed, &alone);
    RunCall(*plan, &call);
    RunCall(*plan, &between);
    RunCall(*plan, &call);
    EXPECT_EQ(call.out, alone.out);
  }
}

TEST(Svg2, ADenseStepWarmsUpTheFirstSparseOne) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h2/2 d16 q120 kv120 mask=none grid=4x5x6");
  const auto second_step = [&](const std::string& more) {
    PlannerCall call = RandomCall(problem, 41);
    const auto plan = PlanFor("svg2", problem, Few(more));
    plan->BeginRequest({.steps = 2, .layers = 1});
    for (int step = 0; step < 2; ++step) {
      plan->BeginStep(step);
      RunCall(*plan, &call);
    }
    return call.out;
  };
  const auto all_sparse = second_step("");
  EXPECT_EQ(second_step("svg2_first_times_fp=0.5 svg2_zero_step_kmeans_init=true"), all_sparse);
  EXPECT_NE(second_step("svg2_first_times_fp=0.5"), all_sparse);
}

TEST(Svg2, MoreClustersThanTokensIsFine) {
  PlannerCall call = RandomCall(ParseAttentionProblem("f32 b1 h2/2 d16 q30 kv30 mask=none grid=1x5x6"), 43);
  const auto plan = PlanFor("svg2", call.problem, OptionsFrom("svg2_first_times_fp=0.0"));
  RunCall(*plan, &call);
  EXPECT_EQ(plan->decision()->Defect(2, 30, 30), "");
  EXPECT_EQ(plan->decision()->kv_blocks, 1000);
  for (const float x : call.out) EXPECT_TRUE(std::isfinite(x));
}

TEST(Svg2, RunAllocatesNothing) {
  PlannerCall call = RandomCall(ParseAttentionProblem("f32 b1 h2/2 d16 q120 kv120 mask=none grid=4x5x6"), 47);
  const auto plan = PlanFor("svg2", call.problem, Few());
  plan->BeginRequest({.steps = 3, .layers = 2, .passes = 2});
  std::vector<std::byte> memory(plan->workspace_bytes() + 64);
  auto* begin = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  AttentionIO io;
  io.q = {call.q.data(), 120 * 32, 32, 16};
  io.k = {call.k.data(), 120 * 32, 32, 16};
  io.v = {call.v.data(), 120 * 32, 32, 16};
  std::vector<float> out(call.q.size());
  io.out = {out.data(), 120 * 32, 32, 16};
  const int64_t before = AllocationsOfThisThread();
  for (int step = 0; step < 3; ++step) {
    plan->BeginStep(step);
    plan->Run(io, {begin, plan->workspace_bytes()});
  }
  EXPECT_EQ(AllocationsOfThisThread(), before);
}

TEST(Svg2, DensityIsEstimatedThenMeasured) {
  PlannerCall call = RandomCall(ParseAttentionProblem("f32 b1 h2/2 d16 q120 kv120 mask=none grid=4x5x6"), 53);
  const auto plan = PlanFor("svg2", call.problem, Few("svg2_first_times_fp=0.5"));
  plan->BeginRequest({.steps = 4, .layers = 1});
  const double estimated = plan->ExpectedDensity(3, 0);
  EXPECT_GT(estimated, 0);
  EXPECT_LT(estimated, 1);
  EXPECT_DOUBLE_EQ(plan->ExpectedDensity(1, 0), 1);
  EXPECT_DOUBLE_EQ(plan->ExpectedDensity(-1, -1), 0.5 + 0.5 * estimated);
  plan->BeginStep(2);
  RunCall(*plan, &call);
  EXPECT_DOUBLE_EQ(plan->ExpectedDensity(3, 0), plan->density());
}

}  // namespace
}  // namespace tessera
