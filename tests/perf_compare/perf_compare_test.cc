#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/perf_comparison.h"
#include "pipeline/report.h"
#include "support/command.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using testing::CommandResult;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::RunCommand;

CommandResult Compare(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {TESSERA_BINARY, "perf-compare"});
  return RunCommand(arguments);
}

nlohmann::json Step(const std::string& name, double milliseconds) {
  return {{"name", name}, {"duration_ms", milliseconds}};
}

nlohmann::json Dump(double total, const std::vector<nlohmann::json>& steps, const std::string& commit = "abc123") {
  return {{"timestamp", "2026-01-02T03:04:05+00:00"},
          {"request_id", "mocked"},
          {"commit_hash", commit},
          {"tag", "cli_generate"},
          {"total_duration_ms", total},
          {"steps", steps},
          {"denoise_steps_ms", nlohmann::json::array()},
          {"meta", {{"prompt", "a fox"}, {"model", "m"}}}};
}

class PerfCompare : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const nlohmann::json& json) {
    return folder_.Write(name, json.dump()).string();
  }
  tessera::TemporaryFolder folder_;
};

TEST_F(PerfCompare, TwoDumpsGiveTheWholeReport) {
  const std::string base =
      Write("base.json", Dump(4040.19, {Step("InputValidationStage", 0.0625), Step("LatentPreparationStage", 0.25),
                                        Step("DenoisingStage", 3000), Step("DecodingStage", 900)}));
  const std::string other =
      Write("new.json", Dump(3997.95,
                             {Step("TextEncodingStage", 12.5), Step("InputValidationStage", 0.125),
                              Step("DenoisingStage", 2500), Step("DecodingStage", 1100)},
                             "def456"));
  const CommandResult result = Compare({base, other});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const std::string want =
      "### Performance Comparison Report\n\n"
      "#### 1. High-level Summary\n"
      "| Metric | Baseline | New | Diff | Status |\n"
      "| :--- | :--- | :--- | :--- | :--- |\n"
      "| **E2E Latency** | 4040.19 ms | 3997.95 ms | **-42.24 ms (-1.0%)** | ⚪️ |\n"
      "| **Throughput** | 0.25 req/s | 0.25 req/s | - | - |\n"
      "\n\n"
      "#### 2. Stage Breakdown\n"
      "| Stage Name | Baseline (ms) | New (ms) | Diff (ms) | Diff (%) | Status |\n"
      "| :--- | :--- | :--- | :--- | :--- | :--- |\n"
      "| TextEncodingStage | 0.00 | 12.50 | +12.50 | +0.0% | ⚪️ |\n"
      "| InputValidationStage | 0.06 | 0.12 | +0.06 | +100.0% | ⚪️ |\n"
      "| DenoisingStage | 3000.00 | 2500.00 | -500.00 | -16.7% | 🟢 |\n"
      "| DecodingStage | 900.00 | 1100.00 | +200.00 | +22.2% | 🔴 |\n"
      "| LatentPreparationStage | 0.25 | 0.00 | -0.25 | -100.0% | ⚪️ |\n"
      "\n\n"
      "<details>\n"
      "<summary>Metadata</summary>\n\n"
      "- Baseline Commit: `abc123`\n"
      "- New Commit: `def456`\n"
      "- Timestamp: ";
  EXPECT_EQ(result.out.substr(0, want.size()), want);
  EXPECT_THAT(result.out.substr(want.size()), ::testing::MatchesRegex("....-..-..T..:..:..\\.......\n</details>\n"));
}

TEST_F(PerfCompare, MoreDumpsGetAColumnEach) {
  const std::string base = Write("base.json", Dump(1000, {Step("A", 500), Step("OnlyBase", 1)}));
  const std::string b = Write("b.json", Dump(900, {Step("A", 300), Step("B", 2)}, "bbb"));
  const std::string c = Write("c|d.json", Dump(1100, {Step("C", 3), Step("A", 700)}, "ccc"));
  const CommandResult result = Compare({base, b, c});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out,
              HasSubstr("| Metric | Baseline | b.json | c\\|d.json |\n| :--- | :--- | :--- | :--- |\n"
                        "| **E2E Latency** | 1000.00 ms | 900.00 ms (-10.0%) ✅ | 1100.00 ms (+10.0%) ❌ |"
                        "\n\n\n#### 2. Stage Breakdown\n| Stage Name | Baseline | b.json | c\\|d.json |\n"));
  EXPECT_THAT(result.out, HasSubstr("| C | 0.00 | 0.00 (+0.0%) ⚪️ | 3.00 (+0.0%) ⚪️ |\n"
                                    "| A | 500.00 | 300.00 (-40.0%) 🟢 | 700.00 (+40.0%) 🔴 |\n"
                                    "| B | 0.00 | 2.00 (+0.0%) ⚪️ | 0.00 (+0.0%) ⚪️ |\n"
                                    "| OnlyBase | 1.00 | 0.00 (-100.0%) ⚪️ | 0.00 (-100.0%) ⚪️ |\n"));
  EXPECT_THAT(result.out, HasSubstr("- b.json Commit: `bbb`\n- c\\|d.json Commit: `ccc`\n"));
}

TEST_F(PerfCompare, DenoisingStepsAreOneStage) {
  const auto steps = [](int count) {
    std::vector<nlohmann::json> list = {Step("TextEncodingStage", 5)};
    for (int i = 0; i < count; ++i) list.push_back(Step("denoising_step_" + std::to_string(i), 10));
    list.push_back(Step("denoising_step_x", 1));
    return list;
  };
  const std::string base = Write("base.json", Dump(100, steps(4))), other = Write("new.json", Dump(100, steps(3)));
  EXPECT_THAT(Compare({base, base}).out, HasSubstr("| Denoising Loop (4 steps) | 40.00 | 40.00 | +0.00 | +0.0% |"));
  EXPECT_THAT(Compare({base, other}).out, HasSubstr("| Denoising Loop (4->3 steps) | 40.00 | 30.00 |"));
  EXPECT_THAT(Compare({base, other}).out, HasSubstr("| denoising_step_x | 1.00 |"));
  EXPECT_THAT(Compare({base, other, other}).out, HasSubstr("| Denoising Loop | 40.00 | 30.00 (-25.0%)"));
}

TEST_F(PerfCompare, StagesOfOneNameAreAddedUp) {
  const std::string base = Write("base.json", Dump(10, {Step("A", 1), Step("B", 5), Step("A", 2)}));
  EXPECT_THAT(Compare({base, base}).out, HasSubstr("| A | 3.00 | 3.00 |"));
}

TEST_F(PerfCompare, ReadsWhatGenerateWrites) {
  Report report;
  report.AddStage("TextEncodingStage", 0.5);
  report.AddStage("DecodingStage", 0.25);
  report.SetTotal(1.0);
  const std::string own = Write("own.json", report.ToJson("a fox", "demo"));
  EXPECT_THAT(Compare({own, own}).out, HasSubstr("| **E2E Latency** | 1000.00 ms | 1000.00 ms | **+0.00 ms (+0.0%)**"));
  EXPECT_THAT(Compare({own, own}).out, HasSubstr("| TextEncodingStage | 500.00 |"));
}

TEST_F(PerfCompare, JsonHoldsTheSameFacts) {
  const std::string base = Write("base.json", Dump(1000, {Step("A", 500), Step("denoising_step_0", 1)}));
  const std::string other = Write("new.json", Dump(1030, {Step("A", 700)}));
  const auto json = nlohmann::json::parse(Compare({base, other, "--json"}).out);
  EXPECT_EQ(json["baseline"]["total_duration_ms"], 1000);
  const auto& row = json["comparisons"][0];
  EXPECT_EQ(row["file"], "new.json");
  EXPECT_EQ(row["status"], "slower");
  EXPECT_EQ(row["diff_percent"], 3.0);
  EXPECT_EQ(row["stages"][0]["status"], "slower");
  EXPECT_EQ(row["stages"][0]["diff_ms"], 200);
  EXPECT_EQ(row["stages"][1]["baseline_steps"], 1);
}

TEST_F(PerfCompare, FailsAboveTheGivenPercentOnly) {
  const std::string base = Write("base.json", Dump(1000, {}));
  const std::string slow = Write("slow.json", Dump(1060, {}));
  EXPECT_EQ(Compare({base, slow, "--fail-above", "10"}).exit_code, 0);
  EXPECT_EQ(Compare({slow, base, "--fail-above", "0"}).exit_code, 0);
  EXPECT_EQ(Compare({base, base, slow, "--fail-above", "5"}).exit_code, 1);
  const CommandResult failed = Compare({base, slow, "--fail-above", "5"});
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_THAT(failed.err, HasSubstr("slow.json: 6.0 % slower than base.json"));
  EXPECT_THAT(failed.out, HasSubstr("Performance Comparison Report"));
}

TEST_F(PerfCompare, BadInputGivesOneLineAndAnExitCode) {
  const std::string good = Write("good.json", Dump(10, {Step("A", 1)}));
  const std::string zero = Write("zero.json", Dump(0, {}));
  const std::string broken = folder_.Write("broken.json", "{\"total_duration_ms\": 1").string();
  const std::string list = Write("list.json", nlohmann::json::array());
  const std::string text = Write("text.json", {{"total_duration_ms", "fast"}});
  const std::string negative = Write("negative.json", Dump(1, {Step("A", -1)}));
  const std::string shape = Write("shape.json", {{"total_duration_ms", 1}, {"steps", {{"A", 1}}}});
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "0 given"},
      {{good}, "1 given"},
      {{good, good + "x"}, "good.jsonx"},
      {{good, broken}, "broken.json"},
      {{list, good}, "no performance dump"},
      {{good, text}, "fast"},
      {{good, negative}, "duration_ms of a step"},
      {{good, shape}, "steps"},
      {{good, good, "--fail-above", "-1"}, "fail-above"},
      {{zero, good, "--fail-above", "1"}, "total_duration_ms is 0"},
  };
  for (const auto& [arguments, words] : cases) {
    const CommandResult result = Compare(arguments);
    EXPECT_GT(result.exit_code, 1) << words;
    EXPECT_LT(result.exit_code, 7) << words;
    EXPECT_THAT(result.err, HasSubstr(words));
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "") << words;
  }
}

TEST_F(PerfCompare, ABaselineWithoutTimeHasNoPercent) {
  const std::string zero = Write("zero.json", Dump(0, {}));
  const std::string good = Write("good.json", Dump(10, {}));
  EXPECT_THAT(Compare({zero, good}).out,
              HasSubstr("| **E2E Latency** | 0.00 ms | 10.00 ms | **+10.00 ms (+0.0%)** | ⚪️ |\n"
                        "| **Throughput** | 0.00 req/s | 100.00 req/s |"));
}

TEST(PerfComparison, StatusNeedsBothTheShareAndTheTime) {
  EXPECT_EQ(SpeedOfStage(100, 220), Speed::kSimilar);
  EXPECT_EQ(SpeedOfStage(100, 221), Speed::kSlower);
  EXPECT_EQ(SpeedOfStage(2000, 2200), Speed::kSimilar);
  EXPECT_EQ(SpeedOfStage(2000, 2201), Speed::kSlower);
  EXPECT_EQ(SpeedOfStage(2000, 1800), Speed::kSimilar);
  EXPECT_EQ(SpeedOfStage(2000, 1799), Speed::kFaster);
  EXPECT_EQ(SpeedOfStage(130, 5), Speed::kFaster);
  EXPECT_EQ(SpeedOfStage(100, 0), Speed::kSimilar);
  EXPECT_EQ(SpeedOfRun(1000, 980), Speed::kSimilar);
  EXPECT_EQ(SpeedOfRun(1000, 979), Speed::kFaster);
  EXPECT_EQ(SpeedOfRun(1000, 1020), Speed::kSimilar);
  EXPECT_EQ(SpeedOfRun(1000, 1021), Speed::kSlower);
}

}  // namespace
}  // namespace tessera
