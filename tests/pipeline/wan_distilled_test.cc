// Distilled Wan models through the command line, against plain loops around diffusers' transformers in f32
// (tools/wan_distilled.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include <nlohmann/json.hpp>

#include "media/picture.h"
#include "support/command.h"
#include "support/distilled_model.h"
#include "support/relative_error.h"
#include "weights/safetensors.h"

namespace tessera::testing {
namespace {

constexpr const char* kGolden = TESSERA_SOURCE_FOLDER "/tests/golden/";

std::vector<std::string> CommandLine(const nlohmann::json& job, const TemporaryFolder& folder) {
  const auto number = [&](const char* key) { return job[key].dump(); };
  ComposeDistilledModel(job, folder / "model");
  std::vector<std::string> line = {TESSERA_BINARY,
                                   "generate",
                                   "--model-path",
                                   folder / "model",
                                   "--prompt",
                                   job["prompt"].get<std::string>(),
                                   "--seed",
                                   number("seed"),
                                   "--height",
                                   number("height"),
                                   "--width",
                                   number("width"),
                                   "--num-frames",
                                   number("num_frames"),
                                   "--dit-precision",
                                   "fp32",
                                   "--vae-precision",
                                   "fp32",
                                   "--output-path",
                                   folder / "made",
                                   "--frames-as",
                                   "png",
                                   "--save-latents",
                                   folder / "latents.safetensors",
                                   "--output-file-name",
                                   "film",
                                   "--text-encoder-precisions",
                                   "fp32"};
  if (job.contains("sparsity")) {
    line.insert(line.end(), {"--attention-backend", "video_sparse_attn", "--attention-backend-config",
                             "sparsity=" + number("sparsity")});
  }
  return line;
}

class WanDistilled : public ::testing::TestWithParam<const char*> {};

TEST_P(WanDistilled, MatchesThePlainLoopAtEveryStepAndInEveryFrame) {
  const TemporaryFolder folder;
  const CommandResult result = RunCommand(CommandLine(DistilledJob(GetParam()), folder));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const SafetensorsFile golden(std::string(kGolden) + "wan_distilled.safetensors"),
      made(folder / "latents.safetensors");
  const std::string name = std::string(GetParam()) + ".";
  EXPECT_EQ(RelativeError(made.Get("0.noise"), golden.Get(name + "noise")), 0);
  EXPECT_LE(RelativeError(made.Get("0.timesteps"), golden.Get(name + "timesteps")), 1e-7);
  EXPECT_LE(RelativeError(made.Get("0.first_prediction"), golden.Get(name + "first_prediction")), 1e-4);
  EXPECT_LE(RelativeError(made.Get("0.latents_per_step"), golden.Get(name + "latents_per_step")), 1e-4);
  const Tensor frames = golden.Get(name + "frames");
  const int64_t size = frames.numel() / frames.dim(0);
  for (int64_t t = 0; t < frames.dim(0); ++t) {
    char file[32];
    std::snprintf(file, sizeof file, "made/film/%05d.png", static_cast<int>(t));
    const Picture picture = ReadPicture(folder / file);
    ASSERT_EQ(static_cast<int64_t>(picture.rgb.size()), size);
    for (int64_t i = 0; i < size; ++i) {
      ASSERT_LE(std::abs(picture.rgb[static_cast<size_t>(i)] - frames.data<uint8_t>()[t * size + i]), 1) << t;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rollouts, WanDistilled,
                         ::testing::Values("fast", "fast_5b", "fast_gated", "causal", "causal_window", "causal_first",
                                           "causal_two"),
                         [](const auto& suite) { return suite.param; });

CommandResult RunWith(const std::string& name, const std::vector<std::string>& more) {
  const TemporaryFolder folder;
  auto line = CommandLine(DistilledJob(name), folder);
  line.insert(line.end(), more.begin(), more.end());
  return RunCommand(line);
}

// Of a film's trace or dump.
std::vector<std::string> NamesIn(const nlohmann::json& rows, const std::string& category) {
  std::vector<std::string> names;
  for (const nlohmann::json& row : rows) {
    if (category.empty() || row.value("cat", "") == category) names.push_back(row["name"].get<std::string>());
  }
  return names;
}

struct Reported {
  explicit Reported(const char* job) {
    const TemporaryFolder folder;
    std::vector<std::string> line = CommandLine(DistilledJob(job), folder);
    line.insert(line.end(), {"--profile", folder / "t.json", "--perf-dump-path", folder / "p.json"});
    const CommandResult result = RunCommand(line);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    trace = nlohmann::json::parse(std::ifstream(folder / "t.json"))["traceEvents"];
    perf = nlohmann::json::parse(std::ifstream(folder / "p.json"));
  }
  nlohmann::json trace, perf;
};

using Names = std::vector<std::string>;

class WanDistilledStages : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(WanDistilledStages, AreNamedAsThePipelineHasThem) {
  const auto& [job, denoising] = GetParam();
  const Reported reported(job);
  const Names stages = NamesIn(reported.perf["steps"], "");
  EXPECT_NE(std::ranges::find(stages, denoising), stages.end());
  EXPECT_EQ(std::ranges::find(stages, "DenoisingStage"), stages.end());
  EXPECT_TRUE(reported.perf["memory_checkpoints"].contains(denoising));
  EXPECT_EQ(NamesIn(reported.trace, "stage"), stages);
  EXPECT_EQ(NamesIn(reported.trace, "step").size(), reported.perf["denoise_steps_ms"].size());
}

INSTANTIATE_TEST_SUITE_P(Jobs, WanDistilledStages,
                         ::testing::Values(std::pair("fast", "DmdDenoisingStage"),
                                           std::pair("causal", "CausalDMDDenoisingStage")),
                         [](const auto& suite) { return std::string(suite.param.first); });

TEST(WanCausal, TraceHasThePassesThatReadFinishedBlocks) {
  const Reported reported("causal");
  Names passes = NamesIn(reported.trace, "pass");
  EXPECT_EQ(std::ranges::count(passes, "conditional"),
            static_cast<std::ptrdiff_t>(reported.perf["denoise_steps_ms"].size()));
  std::erase(passes, "conditional");
  ASSERT_FALSE(passes.empty());
  EXPECT_EQ(passes.front(), "finished block 0");
}

TEST(WanDistilledSteps, CanBeGiven) {
  EXPECT_EQ(RunWith("fast", {"--dmd-denoising-steps", "1000,500"}).exit_code, 0);
  EXPECT_EQ(RunWith("causal", {"--num-inference-steps", "1"}).exit_code, 0);
}

TEST(WanDistilledSteps, AreRefusedWhereTheyMakeNoSense) {
  const auto refused = [](const std::vector<std::string>& more, const std::string& why) {
    const CommandResult result = RunWith("fast", more);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_NE(result.err.find(why), std::string::npos) << result.err;
  };
  refused({"--num-inference-steps", "4"}, "this model was distilled for 3 steps, at the timesteps 1000,757,522");
  refused({"--dmd-denoising-steps", "500,600"}, "each timestep must be below the one before");
  refused({"--dmd-denoising-steps", "1001"}, "1001");
  refused({"--dmd-denoising-steps", "0"}, "0");
}

TEST(WanDistilledSteps, AreRefusedByModelsThatAreNotDistilled) {
  const CommandResult result = RunCommand({TESSERA_BINARY, "generate", "--dmd-denoising-steps", "1000,500"});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.err.find("--dmd-denoising-steps 1000,500: pipelines distilled"), std::string::npos) << result.err;
}

TEST(WanGates, MayLieInTheSelfAttention) {
  const auto latents = [](const std::string& gate) {
    const TemporaryFolder folder;
    nlohmann::json job = DistilledJob("fast_gated");
    job["gate"] = gate;
    EXPECT_EQ(RunCommand(CommandLine(job, folder)).exit_code, 0);
    return SafetensorsFile(folder / "latents.safetensors").Get("0.latents_per_step").Clone();
  };
  EXPECT_EQ(RelativeError(latents("attn1.to_gate_compress"), latents("to_gate_compress")), 0);
}

TEST(WanGates, MakeTheModelAskForVideoSparseAttention) {
  const TemporaryFolder folder;
  ComposeDistilledModel(DistilledJob("fast_gated"), folder / "model");
  const CommandResult result =
      RunCommand({TESSERA_BINARY, "generate", "--model-path", folder / "model", "--prompt", "a tram", "--plan-only"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("video_sparse_attn"), std::string::npos) << result.out;
}

TEST(WanCausal, RoundsFramesToWholeBlocks) {
  const auto said = [](int64_t frames) {
    const TemporaryFolder folder;
    nlohmann::json job = DistilledJob("causal");
    job["num_frames"] = frames;
    auto line = CommandLine(job, folder);
    line.push_back("--plan-only");
    const CommandResult result = RunCommand(line);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.err;
  };
  EXPECT_EQ(said(21).find("are not what the model can make"), std::string::npos);  // 6 latent frames
  EXPECT_NE(said(25).find("25 frames are not what the model can make: 21 are made"), std::string::npos);
  EXPECT_NE(said(1).find("1 frames are not what the model can make: 9 are made"), std::string::npos);
}

TEST(WanCausal, RefusesWindowsWithoutRoomForABlock) {
  const TemporaryFolder folder;
  nlohmann::json job = DistilledJob("causal");
  job["transformer_config"] = {{"local_attn_size", 3}, {"sink_size", 1}};
  const CommandResult result = RunCommand(CommandLine(job, folder));
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.err.find("a window of 3 frames"), std::string::npos) << result.err;
}

TEST(WanCausal, RefusesSparseBackends) {
  const CommandResult result = RunWith("causal", {"--attention-backend", "sliding_tile_attn"});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.err.find("sliding_tile_attn"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace tessera::testing
