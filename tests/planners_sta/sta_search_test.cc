// Searching and tuning windows: the original's losses and choices, and files that load again.
#include <cmath>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "attention/registry.h"
#include "attention/window_search.h"
#include "base/error.h"
#include "base/read_file.h"
#include "planners_sta/sta_call.h"
#include "platform/cpu/cpu.h"
#include "support/temporary_folder.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kFolder = TESSERA_SOURCE_FOLDER "/tests/golden/attention/";

std::unique_ptr<AttentionPlan> PlanFor(const AttentionProblem& problem, const Options& options,
                                       const std::string& backend = "sliding_tile_attn") {
  return MakePlan(AttentionRegistry::BuiltIn().Find(backend), problem, CpuDevice(), options);
}

Options Searching(const std::vector<double>& candidates, const std::vector<double>& tile) {
  Options options;
  options.Set("sta_mode", std::string("STA_searching"));
  options.Set("tile_size", tile);
  options.Set("mask_candidates", candidates);
  return options;
}

TEST(StaSearch, LossesAreThoseOfTheOriginal) {
  const SafetensorsFile file(kFolder + "sta_search.safetensors");
  const auto floats = [&](const char* key) {
    const Tensor tensor = file.Get(key);
    return std::vector<float>(tensor.data<float>(), tensor.data<float>() + tensor.numel());
  };
  StaCall call(F32Problem(file.header().metadata.at("problem")), 0);
  call.q = floats("q"), call.k = floats("k"), call.v = floats("v");
  const Tensor candidates = file.Get("search.candidates");
  const std::vector<double> numbers(candidates.data<int32_t>(), candidates.data<int32_t>() + candidates.numel());
  const auto plan = PlanFor(call.problem, Searching(numbers, {1, 4, 4}));
  plan->BeginRequest({.steps = 1, .layers = 1});
  plan->BeginStep(0);
  call.Run(*plan);
  const WindowLosses found = ParseWindowLosses(json::parse(plan->Findings())["pos"], "findings");
  const auto l1 = floats("search.l1"), l2 = floats("search.l2");
  ASSERT_EQ(found.candidates.size(), 3u);
  for (size_t n = 0; n < 3; ++n) {
    const TileWindow window = {candidates.data<int32_t>()[3 * n], candidates.data<int32_t>()[3 * n + 1],
                               candidates.data<int32_t>()[3 * n + 2]};
    const auto at = std::find(found.candidates.begin(), found.candidates.end(), window) - found.candidates.begin();
    for (size_t head = 0; head < 5; ++head) {
      EXPECT_NEAR(found.l1[static_cast<size_t>(at) * 5 + head], l1[n * 5 + head], 1.01e-6);
      EXPECT_NEAR(found.l2[static_cast<size_t>(at) * 5 + head], l2[n * 5 + head], 1.01e-6);
    }
  }
}

TEST(StaSearch, AnswersDenselyWithTheModelsOwnLse) {
  const AttentionProblem problem = F32Problem("f32 b2 h2 d8 q71 kv71 lse grid=1x8x8+3+4");
  StaCall searched(problem, 3), dense(problem, 3);
  const auto plan = PlanFor(problem, Searching({1, 1, 1}, {1, 2, 2}));
  plan->BeginRequest({.steps = 1, .layers = 1});
  searched.Run(*plan);
  dense.Run(*PlanFor(problem, {}, "fa"));
  EXPECT_EQ(searched.out, dense.out);
  EXPECT_EQ(searched.lse, dense.lse);
  EXPECT_EQ(plan->density(), 1);
}

TEST(StaSearch, RecordsEveryPlaceOnItsOwn) {
  const AttentionProblem problem = F32Problem("f32 b1 h1 d8 q64 kv64 grid=1x8x8");
  const auto plan = PlanFor(problem, Searching({1, 1, 1, 1, 3, 3}, {1, 2, 2}));
  plan->BeginRequest({.steps = 2, .layers = 3, .passes = 2});
  StaCall call(problem, 3);
  plan->BeginStep(1);
  call.Run(*plan, {.layer = 2, .pass = 1});
  const json found = json::parse(plan->Findings());
  for (const char* pass : {"pos", "neg"}) {
    const WindowLosses losses = ParseWindowLosses(found[pass], pass);
    ASSERT_EQ(losses.l2.size(), 12u);
    for (size_t n = 0; n < 12; ++n) {
      EXPECT_EQ(std::isfinite(losses.l2[n]), n % 6 == 5 && std::string_view(pass) == "neg") << pass << n;
    }
  }
  EXPECT_GT(ParseWindowLosses(found["neg"], "neg").l2[5], ParseWindowLosses(found["neg"], "neg").l2[11])
      << "a larger window is nearer to the full one";
}

TEST(StaSearch, SkippedStepsAreNotSearched) {
  const AttentionProblem problem = F32Problem("f32 b1 h1 d8 q64 kv64 grid=1x8x8");
  Options options = Searching({1, 1, 1}, {1, 2, 2});
  options.Set("skip_time_steps", int64_t{1});
  const auto plan = PlanFor(problem, options);
  plan->BeginRequest({.steps = 2, .layers = 1});
  StaCall call(problem, 3);
  for (const int step : {0, 1}) {
    plan->BeginStep(step);
    call.Run(*plan);
  }
  const WindowLosses losses = ParseWindowLosses(json::parse(plan->Findings())["pos"], "pos");
  EXPECT_TRUE(std::isnan(losses.l2[0]));
  EXPECT_GT(losses.l2[1], 0);
}

TEST(StaSearch, NeedsNoMoreHeadsThanCandidates) {
  const AttentionProblem problem = F32Problem("f32 b1 h1 d8 q64 kv64 grid=1x8x8");
  Options options;
  options.Set("sta_mode", std::string("STA_SEARCHING"));
  options.Set("tile_size", std::vector<double>{1, 1, 1});
  const auto plan = PlanFor(problem, options);
  StaCall call(problem, 3);
  call.Run(*plan);
  const WindowLosses losses = ParseWindowLosses(json::parse(plan->Findings())["pos"], "pos");
  EXPECT_EQ(losses.candidates.size(), CandidateWindows({1, 8, 8}).size());
  for (const double loss : losses.l2) EXPECT_GT(loss, 0);
}

TEST(StaSearch, CandidatesFollowTheGrid) {
  const TileWindow wan = {3, 6, 10};
  EXPECT_THAT(CandidateWindows(wan), ElementsAre(TileWindow{3, 1, 10}, TileWindow{1, 5, 7}, TileWindow{3, 3, 3},
                                                 TileWindow{1, 6, 5}, TileWindow{1, 3, 10}, TileWindow{3, 6, 1}));
  for (const TileWindow full : {TileWindow{1, 4, 4}, TileWindow{5, 6, 10}, TileWindow{1, 1, 2}, TileWindow{7, 2, 3}}) {
    const auto candidates = CandidateWindows(full);
    EXPECT_FALSE(candidates.empty());
    for (const TileWindow& window : candidates) {
      EXPECT_NE(window, full);
      for (size_t axis = 0; axis < 3; ++axis) EXPECT_TRUE(window[axis] % 2 == 1 || window[axis] == full[axis]);
    }
  }
  EXPECT_TRUE(CandidateWindows({1, 1, 1}).empty());
}

class StaTuning : public testing::Test {
 protected:
  StaTuning() : golden_(json::parse(ReadWholeFile(kFolder + "sta_tuning.json", 1 << 20))) {}

  std::vector<WindowLosses> Prompts(const std::vector<std::string>& passes) const {
    std::vector<WindowLosses> prompts;
    for (const std::string& pass : passes) {
      for (const json& prompt : golden_["search_results"][pass]) prompts.push_back(ParseWindowLosses(prompt, pass));
    }
    return prompts;
  }
  std::vector<TileWindow> Candidates() const {
    std::vector<TileWindow> candidates;
    for (const json& text : golden_["candidates"]) {
      candidates.push_back(ParseTileWindow(text.get<std::string>(), "golden"));
    }
    return candidates;
  }
  void ExpectGolden(const TunedWindows& tuned, const std::string& mode) const {
    EXPECT_EQ(json::parse(tuned.strategy.ToJson()), golden_["mask_strategy"][mode]);
    EXPECT_DOUBLE_EQ(tuned.sparsity, golden_["sparsity"][mode].get<double>());
  }
  // Search results as a search would leave them.
  void WriteResults(const TemporaryFolder& folder, const std::string& pass) const {
    int n = 0;
    for (const json& prompt : golden_["search_results"][pass]) {
      folder.Write(fmt::format("{}/mask_search_{}.json", pass, n++), prompt.dump());
    }
  }

  const json golden_;
  const TileWindow full_ = {3, 6, 10};
};

TEST_F(StaTuning, ChoicesAreThoseOfTheOriginal) {
  ExpectGolden(TuneWindows(Prompts({"pos"}), Candidates(), full_, 2), "STA_tuning");
  ExpectGolden(TuneWindows(Prompts({"pos", "neg"}), Candidates(), full_, 2), "STA_tuning_cfg");
}

TEST_F(StaTuning, TunesFromFilesWritesTheStrategyAndUsesIt) {
  const TemporaryFolder folder;
  WriteResults(folder, "pos");
  WriteResults(folder, "neg");
  const AttentionProblem problem = F32Problem("f32 b1 h3 d8 q180 kv180 grid=3x6x10");
  for (const std::string mode : {"STA_tuning", "STA_tuning_cfg"}) {
    Options options;
    options.Set("sta_mode", mode);
    options.Set("tile_size", std::vector<double>{1, 1, 1});
    options.Set("skip_time_steps", int64_t{2});
    options.Set("mask_search_files_path", (folder.path() / "pos").native());
    if (mode == "STA_tuning_cfg") options.Set("mask_search_files_path_neg", (folder.path() / "neg").native());
    options.Set("save_dir", (folder.path() / mode).native());
    const auto plan = PlanFor(problem, options);
    EXPECT_FALSE(std::filesystem::exists(folder.path() / mode)) << "explaining writes nothing";
    plan->BeginRequest({.steps = 5, .layers = 2});
    const WindowStrategy written = ReadWindowStrategy(folder.path() / mode / "mask_strategy_s2.json");
    EXPECT_EQ(json::parse(written.ToJson()), golden_["mask_strategy"][mode]);
    EXPECT_EQ(json::parse(plan->Findings())["mask_strategy"], golden_["mask_strategy"][mode]);
    EXPECT_NEAR(1 - plan->ExpectedDensity(-1, -1), golden_["sparsity"][mode].get<double>(), 1e-12);
    StaCall call(problem, 1);
    plan->BeginStep(4);
    call.Run(*plan, {.layer = 1});
    EXPECT_DOUBLE_EQ(plan->density(), (1 * 6 * 5 + 1 * 5 * 7 + 1 * 6 * 5) / 540.0);
  }
}

TEST_F(StaTuning, WithoutAFiniteLossTheWindowIsFull) {
  WindowLosses losses = EmptyLosses({{1, 1, 1}, {1, 3, 3}}, 1, 1, 2);
  losses.l2 = {NAN, 0.5, NAN, 0.5};
  const TunedWindows tuned = TuneWindows(std::span(&losses, 1), {}, full_, 0);
  EXPECT_EQ(tuned.strategy.entries()[0].window, full_);
  EXPECT_THAT(tuned.strategy.entries()[1].window, ElementsAre(1, 1, 1)) << "of equals the first";
}

TEST_F(StaTuning, RefusesResultsThatDoNotFit) {
  auto prompts = Prompts({"pos"});
  EXPECT_THAT(ErrorOf([&] {
                TuneWindows(prompts, std::vector<TileWindow>{{1, 1, 1}}, full_, 0);
              }),
              HasSubstr("[1, 1, 1] was not searched"));
  prompts.push_back(EmptyLosses(Candidates(), 1, 2, 3));
  EXPECT_THAT(ErrorOf([&] { TuneWindows(prompts, {}, full_, 0); }), HasSubstr("1, 2 and 3"));
  EXPECT_NE(ErrorOf([&] { TuneWindows({}, {}, full_, 0); }), "no error");
  const TemporaryFolder folder;
  EXPECT_THAT(ErrorOf([&] { ReadWindowLosses(folder.path()); }), HasSubstr("mask_search"));
  EXPECT_THAT(ErrorOf([&] { ReadWindowLosses(folder.path() / "absent"); }), HasSubstr("absent"));
  for (const char* text :
       {"7", "[]", "{}", R"({"L2_loss": 3})", R"({"L2_loss": {"x": [[[1]]]}})", R"({"L2_loss": {"[1, 1, 1]": [[[]]]}})",
        R"({"L2_loss": {"[1, 1, 1]": [[1]]}})", R"({"L2_loss": {"[1, 1, 1]": [[["a"]]]}})",
        R"({"L2_loss": {"[1, 1, 1]": [[[1, 2]], [[1]]]}})",
        R"({"L2_loss": {"[1, 1, 1]": [[[1]]], "[1, 1, 3]": [[[1, 2]]]}})",
        R"({"L2_loss": {"[1, 1, 1]": [[[1]]]}, "L1_loss": {"[1, 1, 3]": [[[1]]]}})"}) {
    EXPECT_THAT(ErrorOf([&] { ParseWindowLosses(json::parse(text), "r.json"); }), HasSubstr("r.json")) << text;
  }
}

}  // namespace
}  // namespace tessera
