// Which layers and steps are dense, and what is refused.
#include <algorithm>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "attention/registry.h"
#include "attention/rules.h"
#include "base/error.h"
#include "planners_svg2/planner_call.h"
#include "platform/cpu/cpu.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

AttentionProblem Tiny() {
  return {.heads = 2, .kv_heads = 2, .head_dim = 8, .q_len = 24, .kv_len = 24, .grid = VideoGrid{2, 3, 4, 0, 0}};
}

constexpr const char* kFew =
    "svg2_num_q_centroids=2 svg2_num_k_centroids=3 svg2_kmeans_iter_init=2 svg2_top_p_kmeans=0.1 "
    "svg2_min_kc_ratio=0.0 ";

// One string of 0 and 1 over the steps for every layer, 1 = dense: from what the plan does.
std::vector<std::string> DenseCalls(const json& entry, double first_times, double first_layers) {
  Options options = OptionsFrom(kFew);
  options.Set("svg2_first_times_fp", first_times);
  options.Set("svg2_first_layers_fp", first_layers);
  const int steps = entry["num_steps"], layers = entry["num_layers"];
  const auto plan = PlanFor("sparse_video_gen_2_attn", Tiny(), options);
  plan->BeginRequest({.steps = steps, .layers = layers, .timesteps = entry["timesteps"].get<std::vector<double>>()});
  PlannerCall call = RandomCall(Tiny(), 3);
  std::vector<std::string> calls(static_cast<size_t>(layers));
  for (int step = 0; step < steps; ++step) {
    plan->BeginStep(step);
    for (int layer = 0; layer < layers; ++layer) {
      call.place.layer = layer;
      RunCall(*plan, &call);
      calls[static_cast<size_t>(layer)] += plan->decision() == nullptr ? '1' : '0';
      EXPECT_EQ(plan->ExpectedDensity(step, layer) == 1, plan->decision() == nullptr);
    }
  }
  return calls;
}

json DenseRules() {
  std::ifstream file(TESSERA_SOURCE_FOLDER "/tests/golden/attention/planner_rules.json");
  return json::parse(file)["svg2_dense"];
}

TEST(Svg2Rules, DenseLayersAndStepsAreThoseOfTheOriginal) {
  for (const json& entry : DenseRules()) {
    if (entry["dense_steps_by_counter"] != entry["dense_steps_in_original"]) continue;  // timesteps that repeat
    const auto expected = entry["dense"].get<std::vector<std::string>>();
    EXPECT_EQ(DenseCalls(entry, entry["svg2_first_times_fp"], entry["svg2_first_layers_fp"]), expected);
  }
}

TEST(Svg2Rules, StepsAreCountedWhereTimestepsRepeat) {
  for (const json& entry : DenseRules()) {
    if (entry["dense_steps_by_counter"] == entry["dense_steps_in_original"]) continue;
    const auto calls = DenseCalls(entry, entry["svg2_first_times_fp"], entry["svg2_first_layers_fp"]);
    EXPECT_EQ(std::count(calls.back().begin(), calls.back().end(), '1'), entry["dense_steps_by_counter"].get<int>());
  }
}

TEST(Svg2Rules, ValuesAboveOneAreALayerCountAndATimestep) {
  for (const json& entry : DenseRules()) {
    const double layers = entry["dense_layers"];
    if (layers < 2) continue;
    // As the original: dense above the threshold.
    EXPECT_EQ(DenseCalls(entry, entry["timestep_threshold"], layers), entry["dense"].get<std::vector<std::string>>());
  }
}

TEST(Svg2Rules, ATimestepNeedsAScheduler) {
  const auto plan = PlanFor("svg2", Tiny(), OptionsFrom("svg2_first_times_fp=900"));
  EXPECT_THAT(ErrorOf([&] { plan->BeginRequest({.steps = 4, .layers = 2}); }), HasSubstr("svg2_first_times_fp=900"));
}

TEST(Svg2Rules, KeysAreTakenWithAndWithoutThePrefix) {
  const AttentionBackend& backend = AttentionRegistry::BuiltIn().Find("sparse_video_gen_2_attn");
  for (const char* prefix : {"", "svg2_"}) {
    Options given;
    for (const char* key : {"num_q_centroids", "num_k_centroids", "kmeans_iter_init", "kmeans_iter_step"}) {
      given.Set(std::string(prefix) + key, int64_t{5});
    }
    for (const char* key : {"top_p_kmeans", "min_kc_ratio", "first_layers_fp", "first_times_fp"}) {
      given.Set(std::string(prefix) + key, 0.5);
    }
    given.Set(std::string(prefix) + "zero_step_kmeans_init", true);
    const Options resolved = ResolveOptions(backend, given);
    EXPECT_EQ(std::get<int64_t>(*resolved.Find("num_k_centroids")), 5);
    EXPECT_EQ(std::get<double>(*resolved.Find("first_times_fp")), 0.5);
  }
}

TEST(Svg2Rules, DefaultsAreThoseOfWan) {
  const Options options = ResolveOptions(AttentionRegistry::BuiltIn().Find("svg2"), {});
  EXPECT_EQ(std::get<int64_t>(*options.Find("num_q_centroids")), 300);
  EXPECT_EQ(std::get<int64_t>(*options.Find("num_k_centroids")), 1000);
  EXPECT_EQ(std::get<double>(*options.Find("top_p_kmeans")), 0.9);
  EXPECT_EQ(std::get<double>(*options.Find("min_kc_ratio")), 0.1);
  EXPECT_EQ(std::get<int64_t>(*options.Find("kmeans_iter_init")), 50);
  EXPECT_EQ(std::get<int64_t>(*options.Find("kmeans_iter_step")), 2);
  EXPECT_EQ(std::get<bool>(*options.Find("zero_step_kmeans_init")), false);
  EXPECT_EQ(std::get<double>(*options.Find("first_layers_fp")), 0.03);
  EXPECT_EQ(std::get<double>(*options.Find("first_times_fp")), 0.2);
}

struct Refused {
  std::string option, part_of_the_message;
};
class Svg2Refuses : public ::testing::TestWithParam<Refused> {};

TEST_P(Svg2Refuses, OptionsThatCannotBe) {
  EXPECT_THAT(ErrorOf([&] { PlanFor("svg2", Tiny(), OptionsFrom(GetParam().option)); }),
              HasSubstr(GetParam().part_of_the_message));
}

INSTANTIATE_TEST_SUITE_P(
    Options, Svg2Refuses,
    ::testing::Values(
        Refused{"svg2_num_q_centroids=0", "num_q_centroids"}, Refused{"svg2_num_k_centroids=-4", "num_k_centroids"},
        Refused{"svg2_num_k_centroids=1000000000", "num_k_centroids"},
        Refused{"svg2_num_k_centroids=1.5", "num_k_centroids"}, Refused{"svg2_top_p_kmeans=1.5", "top_p_kmeans"},
        Refused{"svg2_min_kc_ratio=-0.1", "min_kc_ratio"}, Refused{"svg2_kmeans_iter_init=-1", "kmeans_iter_init"},
        Refused{"svg2_zero_step_kmeans_init=3", "zero_step_kmeans_init"},
        Refused{"svg2_first_layers_fp=-1", "first_layers_fp"}, Refused{"svg2_first_times_fp=-0.5", "first_times_fp"},
        Refused{"svg2_prompt_length=7", "prompt_length=7 is more than the 0 text tokens"},
        Refused{"svg2_top_k=3", "not known"}));

TEST(Svg2Rules, InitialTokensMustFit) {
  const auto plan = PlanFor("svg2", Tiny(), OptionsFrom(kFew));
  EXPECT_THAT(ErrorOf([&] {
                plan->BeginRequest({.q_init_tokens = {1, 2, 3}});
              }),
              HasSubstr("q_init_tokens holds 3 tokens; 2 heads of 2 clusters each need 4"));
  EXPECT_THAT(ErrorOf([&] {
                plan->BeginRequest({.k_init_tokens = {0, 1, 2, 3, 4, 24}});
              }),
              HasSubstr("k_init_tokens names token 24; the video tokens are 0 to 23"));
}

std::vector<std::string_view> ReasonsAgainst(const AttentionProblem& problem) {
  return Refusals(AttentionRegistry::BuiltIn().Find("svg2"), problem, CpuDevice());
}

TEST(Svg2Rules, NeedsAGridThatCoversAllTokensAndNoCausalMask) {
  EXPECT_THAT(ReasonsAgainst(Tiny()), ::testing::IsEmpty());
  AttentionProblem problem = Tiny();
  problem.grid.reset();
  EXPECT_THAT(ReasonsAgainst(problem), ::testing::Not(::testing::IsEmpty()));
  problem = Tiny();
  problem.grid->w = 5;
  EXPECT_THAT(ReasonsAgainst(problem), ::testing::Not(::testing::IsEmpty()));
  problem = Tiny();
  problem.mask = kMaskCausal;
  EXPECT_THAT(ReasonsAgainst(problem), ::testing::Not(::testing::IsEmpty()));
}

}  // namespace
}  // namespace tessera
