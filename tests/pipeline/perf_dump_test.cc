// generate --perf-dump-path: SGLang's stages of each pipeline, steps, memory and attention.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "support/command.h"

namespace tessera::testing {
namespace {

const std::string kPipelines = TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/";
using Names = std::vector<std::string>;

struct Job {
  std::string folder;
  std::vector<std::string> references;
  int steps, passes;
  Names stages;
  friend void PrintTo(const Job& job, std::ostream* stream) { *stream << job.folder; }
};

class PerfDump : public ::testing::TestWithParam<Job> {
 protected:
  void SetUp() override {
    const Job& job = GetParam();
    const TemporaryFolder folder;
    Names line = {TESSERA_BINARY,
                  "generate",
                  "--model-path",
                  kPipelines + job.folder,
                  "--prompt",
                  "a red fox",
                  "--output-path",
                  folder.path(),
                  "--output-file-name",
                  "made",
                  "--perf-dump-path",
                  folder / "perf.json",
                  "--height",
                  "32",
                  "--width",
                  "64",
                  "--num-inference-steps",
                  std::to_string(job.steps),
                  "--log-level",
                  "error"};
    if (job.folder.starts_with("wan")) {
      line.insert(line.end(), {"--num-frames", "5", "--frames-as", "png", "--guidance-scale", "4"});
    }
    const char* const flags[] = {"--image-path", "--last-image-path"};
    for (size_t i = 0; i < job.references.size(); ++i) {
      line.insert(line.end(), {flags[i], kPipelines + job.folder + "/" + job.references[i]});
    }
    const CommandResult result = RunCommand(line);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    std::ifstream file(folder / "perf.json");
    dump_ = nlohmann::ordered_json::parse(file);
  }

  nlohmann::ordered_json dump_;
};

TEST_P(PerfDump, HasTheStagesOfThePipelineInOrder) {
  Names names;
  double sum = 0;
  for (const auto& stage : dump_["steps"]) {
    names.push_back(stage["name"]);
    sum += stage["duration_ms"].get<double>();
    EXPECT_GE(stage["duration_ms"].get<double>(), 0);
  }
  EXPECT_EQ(names, GetParam().stages);
  EXPECT_LE(sum, dump_["total_duration_ms"].get<double>());
}

TEST_P(PerfDump, HasEveryDenoisingStep) {
  const auto& steps = dump_["denoise_steps_ms"];
  ASSERT_EQ(steps.size(), static_cast<size_t>(GetParam().steps));
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i]["step"], i);
    EXPECT_GT(steps[i]["duration_ms"].get<double>(), 0);
  }
}

TEST_P(PerfDump, HasMemoryAroundTheRunAndAfterItsStages) {
  const auto& memory = dump_["memory_checkpoints"];
  Names names;
  for (const auto& [name, row] : memory.items()) {
    names.push_back(name);
    ASSERT_EQ(row.size(), 4U) << name;
    EXPECT_GT(row["allocated_mb"].get<double>(), 1) << name;
    EXPECT_GE(row["reserved_mb"], row["allocated_mb"]) << name;
    EXPECT_GE(row["peak_allocated_mb"].get<double>(), row["allocated_mb"].get<double>() - 1) << name;
    EXPECT_GE(row["peak_reserved_mb"], row["peak_allocated_mb"]) << name;
  }
  EXPECT_EQ(names.front(), "before_forward");
  EXPECT_EQ(names.back(), "after_forward");
  EXPECT_THAT(names, ::testing::IsSupersetOf({"TextEncodingStage", "DenoisingStage", "DecodingStage"}));
}

TEST_P(PerfDump, HasEveryAttentionSiteWithItsShareOfTheTime) {
  double shares = 0;
  int64_t denoiser_calls = 0;
  for (const auto& row : dump_["attention"]) {
    EXPECT_FALSE(row["backend"].get<std::string>().empty());
    EXPECT_EQ(row["density"], 1.0);
    EXPECT_EQ(row["site"], row["component"].get<std::string>() + "." + row["role"].get<std::string>());
    shares += row["time_share"].get<double>();
    if (row["component"].get<std::string>().starts_with("transformer")) denoiser_calls += row["calls"].get<int64_t>();
  }
  EXPECT_NEAR(shares, 1, 1e-6);
  EXPECT_GT(denoiser_calls, 0);
  EXPECT_EQ(denoiser_calls % (GetParam().steps * GetParam().passes), 0);
}

TEST_P(PerfDump, KeysComeInTheKnownOrder) {
  Names keys;
  for (const auto& [key, value] : dump_.items()) keys.push_back(key);
  EXPECT_EQ(keys, (Names{"timestamp", "request_id", "commit_hash", "tag", "total_duration_ms", "steps",
                         "denoise_steps_ms", "memory_checkpoints", "meta", "attention"}));
}

const Names kFromPrompts = {"InputValidationStage",     "TextEncodingStage", "LatentPreparationStage",
                            "TimestepPreparationStage", "DenoisingStage",    "DecodingStage"};
const Names kFromPictures = {"InputValidationStage",   "TextEncodingStage",        "ImageVAEEncodingStage",
                             "LatentPreparationStage", "TimestepPreparationStage", "DenoisingStage",
                             "DecodingStage"};
const Names kFromReadPictures = {"InputValidationStage",  "TextEncodingStage",      "ImageEncodingStage",
                                 "ImageVAEEncodingStage", "LatentPreparationStage", "TimestepPreparationStage",
                                 "DenoisingStage",        "DecodingStage"};

INSTANTIATE_TEST_SUITE_P(
    Pipelines, PerfDump,
    ::testing::Values(Job{"flux2_klein_tiny", {}, 2, 1, kFromPictures}, Job{"wan21_t2v_tiny", {}, 3, 2, kFromPrompts},
                      Job{"wan22_t2v_tiny", {}, 4, 2, kFromPrompts},
                      Job{"wan22_i2v_tiny", {"image_ref0.png"}, 4, 2, kFromPictures},
                      Job{"wan21_i2v_tiny", {"image_ref0.png"}, 3, 2, kFromReadPictures},
                      Job{"wan21_flf2v_tiny", {"image_ref0.png", "image_ref1.png"}, 3, 2, kFromReadPictures}),
    [](const auto& suite) { return suite.param.folder; });

}  // namespace
}  // namespace tessera::testing
