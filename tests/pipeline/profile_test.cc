// generate --profile on tiny folders: the trace against the configuration, the flags and the performance dump.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include <nlohmann/json.hpp>

#include "support/command.h"

namespace tessera::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kPipelines = TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/";

nlohmann::json ReadJson(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

struct Job {
  std::string folder;
  std::vector<std::string> more;
};

const Job kPicture = {"flux2_klein_tiny", {"--height", "64", "--width", "64", "--num-inference-steps", "3"}};
const Job kFilm = {"wan22_t2v_tiny",
                   {"--height", "32", "--width", "64", "--num-frames", "9", "--num-inference-steps", "6",
                    "--guidance-scale", "4", "--frames-as", "png"}};

std::vector<std::string> CommandLine(const Job& job, const TemporaryFolder& folder) {
  std::vector<std::string> line = {TESSERA_BINARY,          "generate",           "--model-path",
                                   kPipelines + job.folder, "--prompt",           "a red fox",
                                   "--output-path",         folder.path(),        "--profile",
                                   folder / "t.json",       "--output-file-name", "made",
                                   "--perf-dump-path",      folder / "perf.json"};
  line.insert(line.end(), job.more.begin(), job.more.end());
  return line;
}

// The spans of a profiled job, and its performance dump.
struct Profile {
  explicit Profile(const Job& job) {
    const TemporaryFolder folder;
    const CommandResult result = RunCommand(CommandLine(job, folder));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    err = result.err;
    trace = ReadJson(folder / "t.json");
    perf = ReadJson(folder / "perf.json");
    for (const nlohmann::json& event : trace["traceEvents"]) {
      if (event["ph"] == "X") spans.push_back(event);
    }
  }

  std::vector<std::string> Names(const std::string& category) const {
    std::vector<std::string> names;
    for (const nlohmann::json& span : spans) {
      if (span["cat"] == category) names.push_back(span["name"].get<std::string>());
    }
    return names;
  }
  int Count(const std::string& category, const std::string& start = "") const {
    int count = 0;
    for (const std::string& name : Names(category)) count += name.starts_with(start) ? 1 : 0;
    return count;
  }
  double Milliseconds(const std::string& category, const std::string& start = "") const {
    double sum = 0;
    for (const nlohmann::json& span : spans) {
      if (span["cat"] == category && span["name"].get<std::string>().starts_with(start)) {
        sum += span["dur"].get<double>() / 1e3;
      }
    }
    return sum;
  }

  nlohmann::json trace, perf;
  std::vector<nlohmann::json> spans;
  std::string err;
};

void ExpectNested(const std::vector<nlohmann::json>& spans) {
  constexpr double kRounding = 0.002;       // microseconds
  std::map<int, std::vector<double>> ends;  // of the spans around, by thread
  std::map<int, double> last_begin;
  for (const nlohmann::json& span : spans) {
    const int thread = span["tid"].get<int>();
    const double begin = span["ts"].get<double>(), end = begin + span["dur"].get<double>();
    EXPECT_GE(begin, last_begin[thread]);
    last_begin[thread] = begin;
    auto& around = ends[thread];
    while (!around.empty() && around.back() <= begin + kRounding) around.pop_back();
    const double limit = around.empty() ? end : around.back();
    EXPECT_LE(end, limit + kRounding) << span;
    around.push_back(end);
  }
}

std::vector<std::string> StagesOf(const nlohmann::json& perf) {
  std::vector<std::string> names;
  for (const nlohmann::json& step : perf["steps"]) names.push_back(step["name"].get<std::string>());
  return names;
}

// Calls by site and backend, in the trace and in the dump.
void ExpectTheSameAttention(const Profile& profile) {
  std::map<std::string, int64_t> traced, reported;
  for (const nlohmann::json& span : profile.spans) {
    if (span["cat"] != "attention") continue;
    ++traced[span["args"]["site"].get<std::string>() + " " + span["name"].get<std::string>()];
    EXPECT_GT(span["args"]["q_len"], 0);
    EXPECT_GT(span["args"]["kv_len"], 0);
    EXPECT_GT(span["args"]["head_dim"], 0);
    EXPECT_EQ(span["args"]["density"], 1.0);
  }
  for (const nlohmann::json& row : profile.perf["attention"]) {
    reported[row["site"].get<std::string>() + " " + row["backend"].get<std::string>()] += row["calls"].get<int64_t>();
  }
  EXPECT_EQ(traced, reported);
}

// A span of a stage is around what the report measures; steps are most of their stage.
void ExpectTimesAgree(const Profile& profile) {
  constexpr double kRounding = 0.001;  // milliseconds
  for (const nlohmann::json& step : profile.perf["steps"]) {
    EXPECT_GE(profile.Milliseconds("stage", step["name"].get<std::string>()) + kRounding,
              step["duration_ms"].get<double>());
  }
  const double stage = profile.Milliseconds("stage", "DenoisingStage"), steps = profile.Milliseconds("step");
  EXPECT_LE(steps, stage);
  EXPECT_GE(steps + profile.Milliseconds("load"), 0.5 * stage);
}

TEST(Profile, PictureHasEveryStageStepBlockAndAttentionCall) {
  const Profile profile(kPicture);
  const nlohmann::json transformer = ReadJson(kPipelines + kPicture.folder + "/transformer/config.json");
  const int double_blocks = transformer["num_layers"].get<int>(), single = transformer["num_single_layers"].get<int>();
  constexpr int kSteps = 3;
  ExpectNested(profile.spans);
  EXPECT_EQ(profile.Names("stage"), StagesOf(profile.perf));
  EXPECT_THAT(profile.Names("step"), ElementsAre("step 0", "step 1", "step 2"));
  const int passes = profile.Count("pass");
  EXPECT_TRUE(passes == kSteps || passes == 2 * kSteps) << passes;
  EXPECT_EQ(profile.Count("block", "double block"), double_blocks * passes);
  EXPECT_EQ(profile.Count("block", "single block"), single * passes);
  EXPECT_GT(profile.Count("block", "layer"), 0);
  EXPECT_EQ(profile.Count("linear", "attn.to_qkv_mlp_proj"), single * passes);
  EXPECT_GT(profile.Count("norm"), passes * (double_blocks + single));
  EXPECT_GT(profile.Count("rotary"), 0);
  EXPECT_GT(profile.Count("convolution"), 0);
  EXPECT_GT(profile.Count("load", "load"), 2);
  EXPECT_EQ(profile.Count("write"), 1);
  ExpectTheSameAttention(profile);
  ExpectTimesAgree(profile);
}

TEST(Profile, FilmHasBothPassesBothExpertsAndEveryFrame) {
  const Profile profile(kFilm);
  const int blocks = ReadJson(kPipelines + kFilm.folder + "/transformer/config.json")["num_layers"].get<int>();
  constexpr int kSteps = 6, kLatentFrames = 3, kFrames = 9;
  ExpectNested(profile.spans);
  EXPECT_EQ(profile.Names("stage"), StagesOf(profile.perf));
  EXPECT_EQ(profile.Count("step"), kSteps);
  EXPECT_EQ(profile.Count("pass", "conditional"), kSteps);
  EXPECT_EQ(profile.Count("pass", "unconditional"), kSteps);
  EXPECT_EQ(profile.Count("block", "block"), 2 * kSteps * blocks);
  EXPECT_EQ(profile.Count("block", "latent frame"), kLatentFrames);
  EXPECT_EQ(profile.Count("linear", "ffn.net.0.proj"), 2 * kSteps * blocks);
  EXPECT_GE(profile.Count("write"), kFrames);
  std::vector<std::string> loaded;
  for (const nlohmann::json& span : profile.spans) {
    if (span["cat"] == "load") loaded.push_back(span["args"]["what"].get<std::string>());
  }
  EXPECT_THAT(loaded, ::testing::IsSupersetOf({"transformer", "transformer_2", "text_encoder", "vae"}));
  ExpectTheSameAttention(profile);
  ExpectTimesAgree(profile);
}

TEST(Profile, TableSaysWhereTheTimeWent) {
  const Profile profile(kPicture);
  for (const char* word : {"self time", "linear", "attention", "convolution", "GFLOP/s"}) {
    EXPECT_THAT(profile.err, HasSubstr(word));
  }
}

TEST(Profile, AbsentFlagRecordsAndPrintsNothing) {
  const TemporaryFolder folder;
  std::vector<std::string> line = CommandLine(kPicture, folder);
  line.erase(line.begin() + 8, line.begin() + 10);
  const CommandResult result = RunCommand(line);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "t.json"));
  EXPECT_THAT(result.err, Not(HasSubstr("self time")));
}

TEST(Profile, WarmUpIsOneSpanAndOnlyTheRunAfterItIsRecorded) {
  Job job = kPicture;
  job.more.insert(job.more.end(), {"--warmup", "True"});
  const Profile profile(job);
  EXPECT_EQ(profile.Count("stage", "warm-up"), 1);
  EXPECT_EQ(profile.Count("stage", "DenoisingStage"), 1);
  EXPECT_EQ(profile.Count("step"), 3);
}

void ExpectRefused(const std::vector<std::string>& line, const TemporaryFolder& folder, const std::string& words) {
  const CommandResult result = RunCommand(line);
  EXPECT_GT(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr(words));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "made.png"));
}

TEST(Profile, AFileThatCannotBeWrittenIsSaidBeforeTheWork) {
  const TemporaryFolder folder;
  std::ofstream(folder / "taken") << "x";
  for (const std::string& path : {folder / "taken" + "/t.json", folder.path(), std::string("/dev/full")}) {
    std::vector<std::string> line = CommandLine(kPicture, folder);
    line[9] = path;
    ExpectRefused(line, folder, path.starts_with("/dev") ? path : folder.path());
  }
}

TEST(Profile, AFileOfAnotherFlagIsRefused) {
  const TemporaryFolder folder;
  std::vector<std::string> line = CommandLine(kPicture, folder);
  line[9] = folder / "perf.json";
  ExpectRefused(line, folder, "--profile");
}

TEST(Profile, ARunThatFailsLeavesNoTrace) {
  const TemporaryFolder folder;
  Job job = kFilm;
  job.more.insert(job.more.end(), {"--scheduler-path", folder / "none"});
  const CommandResult result = RunCommand(CommandLine(job, folder));
  EXPECT_GT(result.exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(folder / "t.json"));
}

}  // namespace
}  // namespace tessera::testing
