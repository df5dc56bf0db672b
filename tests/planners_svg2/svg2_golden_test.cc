// Decisions and outputs of the original implementation (tests/golden/attention/svg2_*): labels, sizes and maps exactly.
#include <algorithm>
#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "attention/token_clusters.h"
#include "planners_svg2/planner_call.h"
#include "tensor/workspace.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr double kTolerance = 2e-5, kCentroidTolerance = 1e-5;

struct GoldenRun {
  std::string file, name, problem;
  json config;
  int step = 0, layer = 0;
};

std::vector<GoldenRun> AllRuns() {
  std::vector<GoldenRun> runs;
  for (const std::string file : {"video", "text", "converge", "one_cluster", "all_kept"}) {
    const SafetensorsFile opened(TESSERA_SOURCE_FOLDER "/tests/golden/attention/svg2_" + file + ".safetensors");
    for (const json& run : json::parse(opened.header().metadata.at("runs"))) {
      runs.push_back({file, run["run"], run["problem"], run["config"], run["step"], run["layer"]});
    }
  }
  return runs;
}

class Golden {
 public:
  explicit Golden(const GoldenRun& run)
      : file_(TESSERA_SOURCE_FOLDER "/tests/golden/attention/svg2_" + run.file + ".safetensors"), run_(run) {}

  bool Contains(const std::string& key) const { return file_.Contains(key); }
  template <class T>
  std::vector<T> Values(const std::string& key) const {
    const Tensor tensor = file_.Get(key);
    return {tensor.data<T>(), tensor.data<T>() + tensor.numel()};
  }
  // The run's own operand, or the file's.
  std::vector<float> Operand(const std::string& run, const std::string& key) const {
    return Values<float>(Contains(run + "." + key) ? run + "." + key : key);
  }

  PlannerCall Call(const std::string& run, DType dtype) const {
    PlannerCall call;
    call.problem = ParseAttentionProblem(run_.problem);
    call.problem.dtype = dtype;
    call.q = Operand(run, "q");
    call.k = Operand(run, "k");
    call.v = Operand(run, "v");
    if (Contains("key_lengths")) call.key_lengths = Values<int32_t>("key_lengths");
    call.place.layer = run_.layer;
    return call;
  }
  DenoisingOutline Outline() const {
    return {.steps = 4,
            .layers = 8,
            .passes = 1,
            .timesteps = {},
            .seed = 1,
            .q_init_tokens = Values<int32_t>("q_init_tokens"),
            .k_init_tokens = Values<int32_t>("k_init_tokens")};
  }
  Options Config() const {
    Options options;
    for (const auto& [key, value] : run_.config.items()) {
      if (value.is_boolean()) {
        options.Set(key, value.get<bool>());
      } else if (value.is_number_integer()) {
        options.Set(key, value.get<int64_t>());
      } else {
        options.Set(key, value.get<double>());
      }
    }
    return options;
  }
  // Runs the earlier steps of the file, then this one.
  std::unique_ptr<AttentionPlan> RunUpTo(PlannerCall* call) const {
    auto plan = PlanFor("sparse_video_gen_2_attn", call->problem, Config());
    plan->BeginRequest(Outline());
    for (int step = 0; step < run_.step; ++step) {
      PlannerCall earlier = Call("step" + std::to_string(step), call->problem.dtype);
      plan->BeginStep(step);
      RunCall(*plan, &earlier);
    }
    plan->BeginStep(run_.step);
    RunCall(*plan, call);
    return plan;
  }

 private:
  SafetensorsFile file_;
  GoldenRun run_;
};

class Svg2Golden : public ::testing::TestWithParam<GoldenRun> {};

std::vector<int32_t> Part(const std::vector<int32_t>& values, size_t length, size_t n) {
  const auto begin = values.begin() + static_cast<ptrdiff_t>(n * length);
  return {begin, begin + static_cast<ptrdiff_t>(length)};
}

void ExpectSameDecision(const Golden& golden, const std::string& run, const AttentionPlan& plan,
                        const AttentionProblem& problem) {
  const auto map = golden.Values<uint8_t>(run + ".block_mask");
  for (int head = 0; head < problem.heads; ++head) {
    const auto set = static_cast<size_t>(head);
    const HeadDecision decision = DecisionOf(*plan.decision(), problem, head);
    EXPECT_EQ(decision.q_labels, Part(golden.Values<int32_t>(run + ".q_labels"), decision.q_labels.size(), set));
    EXPECT_EQ(decision.k_labels, Part(golden.Values<int32_t>(run + ".k_labels"), decision.k_labels.size(), set));
    EXPECT_EQ(decision.q_sizes, Part(golden.Values<int32_t>(run + ".q_sizes"), decision.q_sizes.size(), set));
    EXPECT_EQ(decision.k_sizes, Part(golden.Values<int32_t>(run + ".k_sizes"), decision.k_sizes.size(), set));
    const auto begin = map.begin() + static_cast<ptrdiff_t>(set * decision.map.size());
    EXPECT_TRUE(std::equal(decision.map.begin(), decision.map.end(), begin)) << "map of head " << head;
  }
}

TEST_P(Svg2Golden, DecidesAsTheOriginal) {
  const Golden golden(GetParam());
  if (!golden.Contains(GetParam().name + ".block_mask")) return;  // a dense run
  PlannerCall call = golden.Call(GetParam().name, DType::kF32);
  const auto plan = golden.RunUpTo(&call);
  ASSERT_NE(plan->decision(), nullptr);
  EXPECT_EQ(plan->decision()->Defect(call.problem.heads, call.problem.q_len, call.problem.kv_len), "");
  ExpectSameDecision(golden, GetParam().name, *plan, call.problem);
}

TEST_P(Svg2Golden, DecidesAlikeInBf16) {
  const Golden golden(GetParam());
  if (!golden.Contains(GetParam().name + ".block_mask")) return;
  PlannerCall call = golden.Call(GetParam().name, DType::kBF16);
  const auto plan = golden.RunUpTo(&call);
  ExpectSameDecision(golden, GetParam().name, *plan, call.problem);
}

TEST_P(Svg2Golden, AttendsAsTheOriginal) {
  const Golden golden(GetParam());
  PlannerCall call = golden.Call(GetParam().name, DType::kF32);
  golden.RunUpTo(&call);
  std::vector<float> expected = golden.Values<float>(GetParam().name + ".out");
  if (!call.key_lengths.empty()) {  // padding is nobody's
    const auto valid = static_cast<size_t>(call.key_lengths[0] * call.problem.heads * call.problem.head_dim);
    expected.resize(valid);
    call.out.resize(valid);
  }
  EXPECT_LE(LargestDifference(call.out, expected), kTolerance);
}

// The search alone, on queries or keys of the run.
TEST_P(Svg2Golden, FindsTheCentroidsOfTheOriginal) {
  const Golden golden(GetParam());
  const std::string& run = GetParam().name;
  const AttentionProblem problem = ParseAttentionProblem(GetParam().problem);
  const VideoGrid& grid = *problem.grid;
  for (const std::string operand : {"q", "k"}) {
    if (!golden.Contains(run + "." + operand + "_centroids")) continue;
    const auto expected = golden.Values<float>(run + "." + operand + "_centroids");
    const auto starts = golden.Values<int32_t>(operand + "_init_tokens");
    const ClusterShape shape{DType::kF32,      1,
                             problem.q_len,    problem.heads,
                             problem.head_dim, static_cast<int64_t>(starts.size()) / problem.heads};
    const TokenSpan span{grid.prefix, grid.t * grid.h * grid.w};
    TokenClusters clusters(shape);
    std::vector<float> centroids(shape.centroid_elements());
    Workspace workspace(clusters.workspace_bytes());
    const std::span memory(static_cast<std::byte*>(workspace.TakeBytes(clusters.workspace_bytes())),
                           clusters.workspace_bytes());
    for (int step = 0; step <= GetParam().step; ++step) {
      const auto rows = golden.Operand("step" + std::to_string(step), operand);
      const int64_t token = int64_t{problem.heads} * problem.head_dim;
      const ClusterRows input{{rows.data(), problem.q_len * token, token, problem.head_dim}, {&span, 1}};
      if (step == 0) clusters.Start(input, starts, centroids.data());
      const std::string iterations = step == 0 ? "svg2_kmeans_iter_init" : "svg2_kmeans_iter_step";
      clusters.Iterate(input, GetParam().config[iterations], centroids.data(), memory);
    }
    EXPECT_LE(LargestDifference(centroids, expected), kCentroidTolerance) << operand;
  }
}

INSTANTIATE_TEST_SUITE_P(Runs, Svg2Golden, ::testing::ValuesIn(AllRuns()),
                         [](const auto& test) { return test.param.file + "_" + test.param.name; });

}  // namespace
}  // namespace tessera
