// The four jobs of the tiny FLUX.2 klein folder through the command line, against what diffusers made in f32.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include <nlohmann/json.hpp>

#include "media/picture.h"
#include "support/command.h"
#include "support/relative_error.h"
#include "weights/safetensors.h"

namespace tessera::testing {
namespace {

const std::string kFolder = TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/flux2_klein_tiny";

struct LevelDifferences {
  double share_above_1 = 0;
  int largest = 0;
};

LevelDifferences CompareLevels(const Picture& actual, const Tensor& expected) {
  LevelDifferences result;
  int64_t above = 0;
  EXPECT_EQ(static_cast<int64_t>(actual.rgb.size()), expected.numel());
  for (int64_t i = 0; i < expected.numel(); ++i) {
    const int level = static_cast<int>(std::nearbyint(expected.data<float>()[i] * 255.0f));
    const int difference = std::abs(static_cast<int>(actual.rgb[static_cast<size_t>(i)]) - level);
    above += difference > 1;
    result.largest = std::max(result.largest, difference);
  }
  result.share_above_1 = static_cast<double>(above) / static_cast<double>(expected.numel());
  return result;
}

nlohmann::json Cases() {
  std::ifstream file(kFolder + "/cases.json");
  return nlohmann::json::parse(file);
}

class Flux2KleinGolden : public ::testing::TestWithParam<std::string> {
 protected:
  std::vector<std::string> CommandLine(const nlohmann::json& cases, const TemporaryFolder& folder) const {
    const nlohmann::json& job = cases["cases"][GetParam()];
    std::vector<std::string> line = {TESSERA_BINARY,
                                     "generate",
                                     "--model-path",
                                     kFolder,
                                     "--prompt",
                                     job["prompt"].get<std::string>(),
                                     "--seed",
                                     std::to_string(job["seed"].get<int64_t>()),
                                     "--height",
                                     std::to_string(cases["height"].get<int>()),
                                     "--width",
                                     std::to_string(cases["width"].get<int>()),
                                     "--num-inference-steps",
                                     std::to_string(cases["num_inference_steps"].get<int>()),
                                     "--output-path",
                                     folder.path(),
                                     "--output-file-name",
                                     "picture.png",
                                     "--save-latents",
                                     folder / "latents.safetensors",
                                     "--perf-dump-path",
                                     folder / "perf.json"};
    for (const auto& path : job["image_path"])
      line.insert(line.end(), {"--image-path", kFolder + "/" + path.get<std::string>()});
    return line;
  }
};

TEST_P(Flux2KleinGolden, MatchesDiffusersAtEveryStepAndInThePicture) {
  const nlohmann::json cases = Cases();
  const TemporaryFolder folder;
  const CommandResult result = RunCommand(CommandLine(cases, folder));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const SafetensorsFile golden(kFolder + "/io.safetensors");
  const SafetensorsFile made(folder / "latents.safetensors");
  const std::string job = GetParam() + ".";
  EXPECT_LE(RelativeError(made.Get("0.prompt_embeds"), golden.Get(job + "prompt_embeds")), 1e-5);
  EXPECT_LE(RelativeError(made.Get("0.first_prediction"), golden.Get(job + "first_prediction")), 2e-5);
  EXPECT_LE(RelativeError(made.Get("0.latents_per_step"), golden.Get(job + "latents_per_step")), 1e-4);
  for (size_t i = 0; i < cases["sigmas"].size(); ++i) {
    EXPECT_EQ(made.Get("0.sigmas").data<float>()[i], cases["sigmas"][i].get<float>());
  }
  const LevelDifferences levels = CompareLevels(ReadPicture(folder / "picture.png"), golden.Get(job + "image"));
  EXPECT_LE(levels.share_above_1, 0.001);
  EXPECT_LE(levels.largest, 2);
}

INSTANTIATE_TEST_SUITE_P(Jobs, Flux2KleinGolden, ::testing::Values("text", "unicode", "edit", "edit2"),
                         [](const auto& suite) { return suite.param; });

std::vector<std::string> SmallJob(const TemporaryFolder& folder, const std::string& name) {
  return {TESSERA_BINARY,
          "generate",
          "--model-path",
          kFolder,
          "--prompt",
          "a blue owl",
          "--height",
          "48",
          "--width",
          "80",
          "--num-inference-steps",
          "2",
          "--output-path",
          folder.path(),
          "--output-file-name",
          name};
}

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(GenerateCommand, GivesTheSameBytesForAnyNumberOfThreads) {
  const TemporaryFolder folder;
  std::vector<std::string> first;
  for (const char* threads : {"1", "2", "5"}) {
    auto line = SmallJob(folder, std::string("t") + threads + ".png");
    line.insert(line.end(), {"--threads", threads});
    const CommandResult result = RunCommand(line);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    first.push_back(Bytes(folder / (std::string("t") + threads + ".png")));
  }
  ASSERT_FALSE(first[0].empty());
  EXPECT_EQ(first[0], first[1]);
  EXPECT_EQ(first[0], first[2]);
}

TEST(GenerateCommand, RepeatsAPictureFromItsOwnText) {
  const TemporaryFolder folder;
  for (const char* name : {"a.png", "a.webp"}) {
    auto line = SmallJob(folder, name);
    line.insert(line.end(), {"--seed", "77", "--output-compression", "95", "--attention-backend", "fa",
                             "--attention-backend-config", "arithmetic=f32"});
    ASSERT_EQ(RunCommand(line).exit_code, 0);
    const std::string again = std::string("again_") + name;
    const CommandResult result = RunCommand({TESSERA_BINARY, "generate", "--from-image", folder / name, "--output-path",
                                             folder.path(), "--output-file-name", again});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(Bytes(folder / name), Bytes(folder / again));
  }
}

TEST(GenerateCommand, WritesAPerformanceDumpInTheKnownForm) {
  const TemporaryFolder folder;
  auto line = SmallJob(folder, "p.png");
  line.insert(line.end(), {"--perf-dump-path", folder / "perf.json", "--warmup", "True"});
  ASSERT_EQ(RunCommand(line).exit_code, 0);
  std::ifstream file(folder / "perf.json");
  const nlohmann::json dump = nlohmann::json::parse(file);
  for (const char* key : {"timestamp", "request_id", "commit_hash", "tag", "total_duration_ms", "steps",
                          "denoise_steps_ms", "memory_checkpoints", "meta", "attention"}) {
    EXPECT_TRUE(dump.contains(key)) << key;
  }
  EXPECT_EQ(dump["denoise_steps_ms"].size(), 2u);
  EXPECT_EQ(dump["meta"]["prompt"], "a blue owl");
  std::vector<std::string> names;
  for (const auto& stage : dump["steps"]) names.push_back(stage["name"]);
  EXPECT_EQ(names, (std::vector<std::string>{"InputValidationStage", "TextEncodingStage", "ImageVAEEncodingStage",
                                             "LatentPreparationStage", "TimestepPreparationStage", "DenoisingStage",
                                             "DecodingStage"}));
}

TEST(GenerateCommand, MakesOnePictureForEverySeedOfSeveralOutputs) {
  const TemporaryFolder folder;
  auto line = SmallJob(folder, "many.png");
  line.insert(line.end(), {"--num-outputs-per-prompt", "2", "--seed", "9"});
  ASSERT_EQ(RunCommand(line).exit_code, 0);
  auto second = SmallJob(folder, "second.png");
  second.insert(second.end(), {"--seed", "10"});
  ASSERT_EQ(RunCommand(second).exit_code, 0);
  EXPECT_EQ(ReadPicture(folder / "many_1.png").rgb, ReadPicture(folder / "second.png").rgb);
  EXPECT_NE(ReadPicture(folder / "many_0.png").rgb, ReadPicture(folder / "many_1.png").rgb);
}

}  // namespace
}  // namespace tessera::testing
