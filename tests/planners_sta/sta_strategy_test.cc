// Strategy files: what loads, what is refused in one line, and what the planner makes of them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/registry.h"
#include "attention/window_strategy.h"
#include "base/error.h"
#include "planners_sta/sta_call.h"
#include "platform/cpu/cpu.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

WindowStrategy Parse(std::string_view json) { return ParseWindowStrategy(json, "s.json"); }

TEST(WindowStrategy, FindsTheWindowsOfAPlace) {
  const WindowStrategy strategy =
      Parse(R"({"10_0_1": [1, 3, 5], "2_0_0": [3, 3, 3], "10_0_0": [5, 5, 5], "10_1_0": [1, 1, 1]})");
  ASSERT_EQ(strategy.entries().size(), 4u);
  const auto at = strategy.At(10, 0);
  ASSERT_EQ(at.size(), 2u);
  EXPECT_EQ(at[0].head, 0);
  EXPECT_EQ(at[1].head, 1);
  EXPECT_THAT(at[1].window, ElementsAre(1, 3, 5));
  EXPECT_TRUE(strategy.At(10, 2).empty());
  EXPECT_TRUE(strategy.At(-1, 0).empty());
}

TEST(WindowStrategy, ReadsTheSpellingsOfOlderFiles) {
  const WindowStrategy strategy = Parse(
      R"({"0_0_0": "[1, 3, 5]", "0_0_1": "1,3,5", "0_0_2": ["1", "3", "5"], "0_0_3": [1.0, 3, 5], "0_0_04": [1, 3, 5]})");
  ASSERT_EQ(strategy.At(0, 0).size(), 5u);
  for (const WindowEntry& entry : strategy.At(0, 0)) EXPECT_THAT(entry.window, ElementsAre(1, 3, 5));
}

TEST(WindowStrategy, HugeNumbersAreAllTilesAndHugePlacesNone) {
  const WindowStrategy strategy = Parse(
      R"({"0_0_0": [99999999999999999999, 1e300, 1], "0_0_99999999999999999999": [1, 1, 1], "2147483647_0_0": [1, 1, 1]})");
  ASSERT_EQ(strategy.entries().size(), 1u);
  EXPECT_THAT(strategy.entries()[0].window, ElementsAre(2147483647, 2147483647, 1));
}

TEST(WindowStrategy, WhatItWritesLoadsAgain) {
  const WindowStrategy strategy = Parse(R"({"7_1_0": [3, 1, 10], "0_0_0": [1, 1, 1]})");
  const WindowStrategy again = Parse(strategy.ToJson());
  ASSERT_EQ(again.entries().size(), 2u);
  EXPECT_EQ(again.ToJson(), strategy.ToJson());
  EXPECT_THAT(again.At(7, 1)[0].window, ElementsAre(3, 1, 10));
}

TEST(WindowStrategy, RefusesInOneLine) {
  const std::string deep = R"({"0_0_0": )" + std::string(5000, '[') + std::string(5000, ']') + "}";
  const std::string long_key = fmt::format(R"({{"{}_0": [1, 1, 1]}})", std::string(100000, '7'));
  const std::string long_zeros = fmt::format(R"({{"{}_0_0": [1, 1]}})", std::string(100000, '0'));
  for (const std::string& text : std::initializer_list<std::string>{"",
                                                                    "[]",
                                                                    "{}",
                                                                    "7",
                                                                    "{",
                                                                    "null",
                                                                    "\xff",
                                                                    deep,
                                                                    long_key,
                                                                    long_zeros,
                                                                    R"({"0_0": [1, 1, 1]})",
                                                                    R"({"0_0_0_0": [1, 1, 1]})",
                                                                    R"({"": [1, 1, 1]})",
                                                                    R"({"-1_0_0": [1, 1, 1]})",
                                                                    R"({"a_b_c": [1, 1, 1]})",
                                                                    R"({"0_0_+1": [1, 1, 1]})",
                                                                    R"({"0_0_ 1": [1, 1, 1]})",
                                                                    R"({"1__0": [1, 1, 1]})",
                                                                    R"({"0_0_0": [1, 1]})",
                                                                    R"({"0_0_0": [1, 1, 1, 1]})",
                                                                    R"({"0_0_0": []})",
                                                                    R"({"0_0_0": {}})",
                                                                    R"({"0_0_0": null})",
                                                                    R"({"0_0_0": true})",
                                                                    R"({"0_0_0": 3})",
                                                                    R"({"0_0_0": [0, 1, 1]})",
                                                                    R"({"0_0_0": [-3, 1, 1]})",
                                                                    R"({"0_0_0": [1.5, 1, 1]})",
                                                                    R"({"0_0_0": [1, 1, [1]]})",
                                                                    R"({"0_0_0": [1, 1, null]})",
                                                                    R"({"0_0_0": [1, 1, ""]})",
                                                                    R"({"0_0_0": "1,1"})",
                                                                    R"({"0_0_0": "1,1,x"})",
                                                                    R"({"0_0_0": "[1,1,1"})",
                                                                    R"({"0_0_0": [1, 1, 1], "0_0_0": [1, 1, 1]})",
                                                                    R"({"0_0_0": [1, 1, 1], "0_0_00": [1, 1, 1]})"}) {
    const std::string message = ErrorOf([&] { Parse(text); });
    EXPECT_THAT(message, AllOf(HasSubstr("s.json"), Not(HasSubstr("\n")))) << text.substr(0, 60);
    EXPECT_LE(message.size(), 400u) << text.substr(0, 60);
  }
}

class StaStrategy : public testing::Test {
 protected:
  std::unique_ptr<AttentionPlan> PlanWith(const std::string& json, int64_t skip) {
    Options options;
    options.Set("mask_strategy_file_path", folder_.Write("strategy.json", json).native());
    options.Set("tile_size", std::vector<double>{1, 2, 2});
    if (skip >= 0) options.Set("skip_time_steps", skip);
    return MakePlan(AttentionRegistry::BuiltIn().Find("sliding_tile_attn"), problem_, CpuDevice(), options);
  }
  double DensityOfCall(AttentionPlan& plan, int step, int layer) {
    StaCall call(problem_, 1);
    plan.BeginStep(step);
    call.Run(plan, {.layer = layer});
    return plan.density();
  }

  const AttentionProblem problem_ = F32Problem("f32 b1 h2 d8 q64 kv64 grid=1x8x8");  // 4 x 4 tiles
  const TemporaryFolder folder_;
};

TEST_F(StaStrategy, StepsLayersAndHeadsHaveTheirOwnWindows) {
  const auto plan = PlanWith(R"({"0_0_0": [1, 1, 1], "0_1_1": [1, 3, 4], "1_0_0": [1, 4, 4], "9_9_7": [1, 2, 2]})", 0);
  plan->BeginRequest({.steps = 2, .layers = 2});
  EXPECT_DOUBLE_EQ(DensityOfCall(*plan, 0, 0), (1.0 / 16 + 1) / 2);
  EXPECT_DOUBLE_EQ(DensityOfCall(*plan, 0, 1), (1 + 0.75) / 2);
  EXPECT_EQ(DensityOfCall(*plan, 1, 0), 1);
  EXPECT_EQ(plan->decision(), nullptr);
  EXPECT_EQ(DensityOfCall(*plan, 1, 1), 1);
}

TEST_F(StaStrategy, ExpectedDensityAveragesOverTheRun) {
  const auto plan = PlanWith(R"({"0_0_0": [1, 1, 1], "0_1_1": [1, 3, 4], "99_0_0": [1, 1, 1]})", 0);
  plan->BeginRequest({.steps = 2, .layers = 2});
  EXPECT_DOUBLE_EQ(plan->ExpectedDensity(0, 0), (1.0 / 16 + 1) / 2);
  EXPECT_DOUBLE_EQ(plan->ExpectedDensity(0, -1), ((1.0 / 16 + 1) / 2 + 0.875) / 2);
  EXPECT_DOUBLE_EQ(plan->ExpectedDensity(-1, -1), ((1.0 / 16 + 1) / 2 + 0.875 + 2) / 4);
}

TEST_F(StaStrategy, FirstStepsAreDense) {
  const std::string json = R"({"1_0_0": [1, 1, 1], "2_0_0": [1, 1, 1], "14_0_0": [1, 1, 1], "15_0_0": [1, 1, 1]})";
  const auto two = PlanWith(json, 2);
  EXPECT_EQ(DensityOfCall(*two, 1, 0), 1);
  EXPECT_LT(DensityOfCall(*two, 2, 0), 1);
  const auto documented = PlanWith(json, -1);
  EXPECT_EQ(DensityOfCall(*documented, 14, 0), 1);
  EXPECT_LT(DensityOfCall(*documented, 15, 0), 1);
}

TEST_F(StaStrategy, EvenWindowsThatDoNotReachOverTheGridAreRefused) {
  EXPECT_THAT(ErrorOf([&] { PlanWith(R"({"3_2_1": [1, 2, 1]})", 0); }),
              AllOf(HasSubstr("3_2_1"), HasSubstr("[1, 2, 1]"), HasSubstr("even along h")));
  EXPECT_EQ(ErrorOf([&] { PlanWith(R"({"3_2_9": [1, 2, 1]})", 0); }), "no error") << "a head the model does not have";
}

TEST_F(StaStrategy, OptionsThatDoNotFitAreRefusedInOneLine) {
  const auto error_of = [&](const std::vector<std::pair<std::string, OptionValue>>& given) {
    Options options;
    for (const auto& [key, value] : given) options.Set(key, value);
    return ErrorOf(
        [&] { MakePlan(AttentionRegistry::BuiltIn().Find("sliding_tile_attn"), problem_, CpuDevice(), options); });
  };
  using Numbers = std::vector<double>;
  EXPECT_THAT(error_of({{"window", Numbers{3, 3}}}), HasSubstr("window has 2 numbers"));
  EXPECT_THAT(error_of({{"window", Numbers{1, 2.5, 1}}}), HasSubstr("2.5"));
  EXPECT_THAT(error_of({{"window", Numbers{1, 2, 1}}, {"tile_size", Numbers{1, 2, 2}}}), HasSubstr("even along h"));
  EXPECT_THAT(error_of({{"tile_size", Numbers{8}}}), HasSubstr("tile_size"));
  EXPECT_THAT(error_of({{"tile_size", Numbers{0, 8, 8}}}), HasSubstr("out of range"));
  EXPECT_THAT(error_of({{"skip_time_steps", int64_t{-2}}}), HasSubstr("out of range"));
  EXPECT_THAT(error_of({{"STA_mode", std::string("STA_guess")}}), HasSubstr("STA_searching"));
  EXPECT_THAT(error_of({{"mask_strategy_file_path", std::string("/nowhere/s.json")}}), HasSubstr("/nowhere/s.json"));
  EXPECT_THAT(error_of({{"mask_strategy_file_path", std::string("x")}, {"window", Numbers{1, 1, 1}}}),
              HasSubstr("exclude"));
  EXPECT_THAT(error_of({{"sta_mode", std::string("STA_searching")}, {"window", Numbers{1, 1, 1}}}),
              HasSubstr("does not use window"));
  EXPECT_THAT(error_of({{"sta_mode", std::string("STA_tuning")}}), HasSubstr("needs mask_search_files_path"));
  EXPECT_THAT(error_of({{"mask_search_files_path", std::string("x")}}), HasSubstr("does not use"));
}

TEST_F(StaStrategy, EveryDocumentedSpellingIsKnown) {
  const AttentionBackend& backend = AttentionRegistry::BuiltIn().Find("STA");
  for (const std::string_view key :
       {"sta_mode", "STA_mode", "mask_strategy_file_path", "skip_time_steps", "tile_size", "window", "mask_candidates",
        "mask_search_files_path", "mask_search_files_path_pos", "mask_search_files_path_neg", "save_dir",
        "sta_skip_time_steps"}) {
    EXPECT_NE(FindOption(backend, key), nullptr) << key;
  }
}

}  // namespace
}  // namespace tessera
