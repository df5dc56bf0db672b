// perf-compare with dumps as SGLang has written them over time, and with broken ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "support/command.h"
#include "support/temporary_folder.h"

namespace tessera::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const char* const kOldest = R"({"total_duration_ms": 2000.0, "steps": [
  {"name": "InputValidationStage", "duration_ms": 0.5},
  {"name": "DenoisingStage", "duration_ms": 1500.0}]})";

const char* const kStepsAmongStages = R"({"timestamp": "2025-11-02T10:00:00+00:00", "request_id": "a",
  "commit_hash": "aaa111", "tag": "cli_generate", "total_duration_ms": 1000.0, "steps": [
  {"name": "TextEncodingStage", "duration_ms": 40.0},
  {"name": "denoising_step_0", "duration_ms": 300.0}, {"name": "denoising_step_1", "duration_ms": 250.5},
  {"name": "DenoisingStage", "duration_ms": 551.0}]})";

const char* const kWithSteps = R"({"timestamp": "2026-01-02T10:00:00+00:00", "request_id": "b",
  "commit_hash": null, "tag": "server_perf_dump", "total_duration_ms": 900.0, "steps": [
  {"name": "InputValidationStage", "duration_ms": 0.25}, {"name": "DenoisingStage", "duration_ms": 600.0}],
  "denoise_steps_ms": [{"step": 0, "duration_ms": 310.0}, {"step": 1, "duration_ms": 290.0}], "meta": {}})";

const char* const kWithMemory = R"({"timestamp": "2026-02-03T10:00:00+00:00", "request_id": "c",
  "commit_hash": "ccc333", "tag": "cli_generate", "total_duration_ms": 850.0, "steps": [
  {"name": "InputValidationStage", "duration_ms": 0.25}, {"name": "DmdDenoisingStage", "duration_ms": 400.0}],
  "denoise_steps_ms": [], "memory_checkpoints": {
  "before_forward": {"allocated_mb": 1.25, "reserved_mb": 2.0, "peak_allocated_mb": 3.5, "peak_reserved_mb": 4.0},
  "after_forward": {"allocated_mb": 1.5, "reserved_mb": 2.0, "peak_allocated_mb": 9.75, "peak_reserved_mb": 12.0},
  "mem_analysis": {"allocated_mb": 1.5}}, "meta": {"prompt": "a fox", "model": "m"}})";

class SglangDumps : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) { return (folder_.Write(name, text)).string(); }
  static CommandResult Compare(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {TESSERA_BINARY, "perf-compare"});
    return RunCommand(arguments);
  }
  CommandResult ComparePair(const std::string& base, const std::string& now) {
    return Compare({Write("base.json", base), Write("new.json", now)});
  }
  tessera::TemporaryFolder folder_;
};

TEST_F(SglangDumps, TheOldestFormHasTotalAndStagesAlone) {
  const CommandResult result = ComparePair(kOldest, kOldest);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("| **E2E Latency** | 2000.00 ms | 2000.00 ms | **+0.00 ms (+0.0%)** | ⚪️ |"));
  EXPECT_THAT(result.out, HasSubstr("| DenoisingStage | 1500.00 | 1500.00 |"));
  EXPECT_THAT(result.out, HasSubstr("- Baseline Commit: `N/A`\n"));
}

TEST_F(SglangDumps, StepsAmongTheStagesAreOneRowBesideTheirStage) {
  const CommandResult result = ComparePair(kStepsAmongStages, kStepsAmongStages);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("| Denoising Loop (2 steps) | 550.50 | 550.50 |"));
  EXPECT_THAT(result.out, HasSubstr("| DenoisingStage | 551.00 | 551.00 |"));
  EXPECT_THAT(result.out, Not(HasSubstr("denoising_step_")));
}

TEST_F(SglangDumps, StepsOfTheirOwnAreNoStages) {
  const CommandResult result = ComparePair(kOldest, kWithSteps);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("| DenoisingStage | 1500.00 | 600.00 | -900.00 | -60.0% | 🟢 |"));
  EXPECT_THAT(result.out, Not(HasSubstr("Denoising Loop")));
}

TEST_F(SglangDumps, StepsAmongTheStagesOfOneSideAloneCountFromOneAsInSglang) {
  EXPECT_THAT(ComparePair(kWithSteps, kStepsAmongStages).out,
              HasSubstr("| Denoising Loop (1->2 steps) | 0.00 | 550.50 |"));
  EXPECT_THAT(ComparePair(kStepsAmongStages, kWithSteps).out,
              HasSubstr("| Denoising Loop (2->1 steps) | 550.50 | 0.00 |"));
}

TEST_F(SglangDumps, ACommitOfNullIsNotKnown) {
  EXPECT_THAT(ComparePair(kStepsAmongStages, kWithSteps).out,
              HasSubstr("- Baseline Commit: `aaa111`\n- New Commit: `N/A`\n"));
}

TEST_F(SglangDumps, MemoryCheckpointsAreNoStages) {
  const CommandResult result = ComparePair(kWithSteps, kWithMemory);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("| DmdDenoisingStage | 0.00 | 400.00 | +400.00 | +0.0% | 🔴 |"));
  EXPECT_THAT(result.out, HasSubstr("| DenoisingStage | 600.00 | 0.00 | -600.00 | -100.0% | 🟢 |"));
  for (const char* word : {"mem_analysis", "before_forward", "after_forward"}) {
    EXPECT_THAT(result.out, Not(HasSubstr(word)));
  }
}

TEST_F(SglangDumps, FormsOfAllTimesStandBesideEachOther) {
  const CommandResult result = Compare({Write("a.json", kOldest), Write("b.json", kStepsAmongStages),
                                        Write("c.json", kWithSteps), Write("d.json", kWithMemory)});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("| Stage Name | Baseline | b.json | c.json | d.json |"));
  EXPECT_THAT(result.out, HasSubstr("| **E2E Latency** | 2000.00 ms | 1000.00 ms (-50.0%) ✅ | 900.00 ms (-55.0%) ✅ | "
                                    "850.00 ms (-57.5%) ✅ |"));
  EXPECT_THAT(result.out, HasSubstr("| Denoising Loop | 0.00 | 550.50 (+0.0%) 🔴 | 0.00 (+0.0%) ⚪️ |"));
  EXPECT_THAT(result.out, HasSubstr("- b.json Commit: `aaa111`\n- c.json Commit: `N/A`\n- d.json Commit: `ccc333`\n"));
}

struct Broken {
  const char *name, *text, *words;
  friend void PrintTo(const Broken& broken, std::ostream* stream) { *stream << broken.name; }
};

class BrokenDumps : public SglangDumps, public ::testing::WithParamInterface<Broken> {};

TEST_P(BrokenDumps, AreOneLineAndAnExitCodeOnEitherSide) {
  const std::string good = Write("good.json", kWithMemory), bad = Write("bad.json", GetParam().text);
  for (const auto& files : {std::vector{good, bad}, std::vector{bad, good}, std::vector{good, good, bad}}) {
    const CommandResult result = Compare(files);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(result.err, HasSubstr("bad.json"));
    EXPECT_THAT(result.err, HasSubstr(GetParam().words));
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

INSTANTIATE_TEST_SUITE_P(
    Each, BrokenDumps,
    ::testing::Values(
        Broken{"Empty", "", "bad.json"}, Broken{"NoJson", "### Performance Comparison Report\n", "bad.json"},
        Broken{"Lines", "{\"total_duration_ms\": 1}\n{\"total_duration_ms\": 2}\n", "bad.json"},
        Broken{"NotANumber", R"({"total_duration_ms": NaN})", "bad.json"}, Broken{"Null", "null", "total_duration_ms"},
        Broken{"NoTotal", R"({"steps": [], "meta": {}})", "total_duration_ms"},
        Broken{"TotalIsNull", R"({"total_duration_ms": null, "steps": []})", "total_duration_ms is null"},
        Broken{"TotalIsText", R"({"total_duration_ms": "12.5"})", "total_duration_ms"},
        Broken{"StepsAreAnObject", R"({"total_duration_ms": 1, "steps": {"A": 1}})", "steps"},
        Broken{"StepsAreNull", R"({"total_duration_ms": 1, "steps": null})", "steps is null"},
        Broken{"StepIsANumber", R"({"total_duration_ms": 1, "steps": [3]})", "entry of steps"},
        Broken{"NameIsANumber", R"({"total_duration_ms": 1, "steps": [{"name": 3, "duration_ms": 1}]})", "name"},
        Broken{"DurationIsText", R"({"total_duration_ms": 1, "steps": [{"name": "A", "duration_ms": "1"}]})",
               "duration_ms"}),
    [](const auto& suite) { return std::string(suite.param.name); });

}  // namespace
}  // namespace tessera::testing
