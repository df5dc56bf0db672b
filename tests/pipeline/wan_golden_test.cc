// The jobs of the tiny Wan folders through the command line, against what diffusers made in f32.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "media/film.h"
#include "media/picture.h"
#include "support/command.h"
#include "support/relative_error.h"
#include "weights/safetensors.h"

namespace tessera::testing {
namespace {

struct WanJob {
  std::string folder, name;
  friend void PrintTo(const WanJob& job, std::ostream* stream) { *stream << job.folder << " " << job.name; }
};

std::string FolderOf(const WanJob& job) { return TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/" + job.folder; }

class WanGolden : public ::testing::TestWithParam<WanJob> {
 protected:
  static nlohmann::json Job() {
    std::ifstream file(FolderOf(GetParam()) + "/cases.json");
    return nlohmann::json::parse(file)["cases"][GetParam().name];
  }

  static std::vector<std::string> CommandLine(const TemporaryFolder& folder) {
    const nlohmann::json job = Job();
    std::vector<std::string> line = {TESSERA_BINARY,       "generate",
                                     "--model-path",       FolderOf(GetParam()),
                                     "--prompt",           job["prompt"].get<std::string>(),
                                     "--output-path",      folder.path(),
                                     "--output-file-name", "film",
                                     "--frames-as",        "png",
                                     "--save-latents",     folder / "latents.safetensors"};
    // The recordings are f32's, whatever type the weights are kept in.
    for (const char* flag : {"--dit-precision", "--vae-precision", "--text-encoder-precisions"}) {
      line.insert(line.end(), {flag, "fp32"});
    }
    if (std::filesystem::exists(FolderOf(GetParam()) + "/image_encoder")) {
      line.insert(line.end(), {"--image-encoder-precision", "fp32"});
    }
    const auto add = [&](const char* flag, const char* key) {
      if (job.contains(key)) line.insert(line.end(), {flag, job[key].dump()});
    };
    add("--seed", "seed");
    add("--height", "height");
    add("--width", "width");
    add("--num-frames", "num_frames");
    add("--num-inference-steps", "num_inference_steps");
    add("--guidance-scale", "guidance_scale");
    add("--guidance-scale-2", "guidance_scale_2");
    add("--max-sequence-length", "max_sequence_length");
    if (job.contains("negative_prompt"))
      line.insert(line.end(), {"--negative-prompt", job["negative_prompt"].get<std::string>()});
    if (job.contains("scheduler")) {
      line.insert(line.end(), {"--scheduler-path", FolderOf(GetParam()) + "/" + job["scheduler"].get<std::string>()});
    }
    const char* const flags[] = {"--image-path", "--last-image-path"};
    for (size_t i = 0; i < job["image_path"].size(); ++i) {
      line.insert(line.end(), {flags[i], FolderOf(GetParam()) + "/" + job["image_path"][i].get<std::string>()});
    }
    return line;
  }
};

TEST_P(WanGolden, MatchesDiffusersAtEveryStepAndInEveryFrame) {
  const TemporaryFolder folder;
  const CommandResult result = RunCommand(CommandLine(folder));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const SafetensorsFile golden(FolderOf(GetParam()) + "/io.safetensors"), made(folder / "latents.safetensors");
  const std::string job = GetParam().name + ".";
  EXPECT_EQ(RelativeError(made.Get("0.noise"), golden.Get(job + "noise")), 0);
  EXPECT_EQ(RelativeError(made.Get("0.sigmas"), golden.Get(job + "sigmas")), 0);
  EXPECT_EQ(RelativeError(made.Get("0.timesteps"), golden.Get(job + "timesteps")), 0);
  EXPECT_LE(RelativeError(made.Get("0.prompt_embeds"), golden.Get(job + "prompt_embeds")), 1e-5);
  EXPECT_LE(RelativeError(made.Get("0.first_prediction"), golden.Get(job + "first_prediction")), 1e-4);
  EXPECT_LE(RelativeError(made.Get("0.latents_per_step"), golden.Get(job + "latents_per_step")), 1e-4);
  if (golden.Contains(job + "image_embeds")) {
    EXPECT_LE(RelativeError(made.Get("0.image_embeds"), golden.Get(job + "image_embeds")), 1e-5);
  }
  const Tensor frames = golden.Get(job + "frames");
  const int64_t size = frames.numel() / frames.dim(0);
  int64_t above = 0;
  for (int64_t t = 0; t < frames.dim(0); ++t) {
    char name[32];
    std::snprintf(name, sizeof name, "film/%05d.png", static_cast<int>(t));
    const Picture picture = ReadPicture(folder / name);
    ASSERT_EQ(picture.height, frames.dim(1));
    ASSERT_EQ(picture.width, frames.dim(2));
    for (int64_t i = 0; i < size; ++i) {
      const int level = static_cast<int>(std::nearbyint(frames.data<float>()[t * size + i] * 255.0f));
      above += std::abs(static_cast<int>(picture.rgb[static_cast<size_t>(i)]) - level) > 1;
    }
  }
  EXPECT_LE(static_cast<double>(above), 0.001 * static_cast<double>(frames.numel()));
}

INSTANTIATE_TEST_SUITE_P(Jobs, WanGolden,
                         ::testing::Values(WanJob{"wan21_t2v_tiny", "text"}, WanJob{"wan21_t2v_tiny", "unicode"},
                                           WanJob{"wan21_t2v_tiny", "euler"}, WanJob{"wan21_t2v_tiny", "long"},
                                           WanJob{"wan22_t2v_tiny", "text"}, WanJob{"wan22_t2v_tiny", "one_scale"},
                                           WanJob{"wan22_t2v_tiny", "high_only"}, WanJob{"wan22_ti2v_tiny", "text"},
                                           WanJob{"wan22_ti2v_tiny", "image"}, WanJob{"wan22_ti2v_tiny", "odd_size"},
                                           WanJob{"wan22_ti2v_tiny", "still"}, WanJob{"wan22_i2v_tiny", "image"},
                                           WanJob{"wan22_i2v_tiny", "last"}, WanJob{"wan22_i2v_tiny", "unicode"},
                                           WanJob{"wan21_i2v_tiny", "image"}, WanJob{"wan21_i2v_tiny", "unicode"},
                                           WanJob{"wan21_i2v_tiny", "unguided"}, WanJob{"wan21_flf2v_tiny", "image"},
                                           WanJob{"wan21_flf2v_tiny", "unicode"}),
                         [](const auto& suite) { return suite.param.folder + "_" + suite.param.name; });

std::vector<std::string> SmallFilm(const TemporaryFolder& folder, const std::string& name) {
  return {TESSERA_BINARY,
          "generate",
          "--model-path",
          TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/wan21_t2v_tiny",
          "--prompt",
          "a red fox",
          "--num-frames",
          "5",
          "--height",
          "48",
          "--width",
          "64",
          "--num-inference-steps",
          "2",
          "--output-path",
          folder.path(),
          "--output-file-name",
          name};
}

TEST(WanFilms, AreWrittenInTheFormatOfTheName) {
  for (const char* name : {"fox.mp4", "fox.webm", "fox.gif", "fox.webp"}) {
    const TemporaryFolder folder;
    const CommandResult result = RunCommand(SmallFilm(folder, name));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto text = ReadFilmText(folder / name);
    ASSERT_TRUE(text.contains("parameters")) << name;
    EXPECT_NE(text.at("parameters").find("a red fox"), std::string::npos) << name;
  }
}

TEST(WanFilms, SeedsGiveTheSameBytes) {
  const auto film = [](const std::string& threads) {
    const TemporaryFolder folder;
    auto line = SmallFilm(folder, "fox.mp4");
    line.insert(line.end(), {"--threads", threads});
    EXPECT_EQ(RunCommand(line).exit_code, 0);
    std::ifstream file(folder / "fox.mp4", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_EQ(film("1"), film("2"));
}

TEST(WanFilms, AreNoPictures) {
  const TemporaryFolder folder;
  const CommandResult png = RunCommand(SmallFilm(folder, "fox.png"));
  EXPECT_NE(png.exit_code, 0);
  EXPECT_NE(png.err.find("a film cannot be written as png; mp4, webm, webp and gif work"), std::string::npos)
      << png.err;
  auto line = SmallFilm(folder, "fox.mp4");
  line.insert(line.end(), {"--image-path", "nowhere.png"});
  const CommandResult picture = RunCommand(line);
  EXPECT_NE(picture.err.find("makes films from prompts alone"), std::string::npos) << picture.err;
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(WanFilms, PicturesAreNoFilms) {
  const TemporaryFolder folder;
  const std::vector<std::string> line = {TESSERA_BINARY, "generate", "--prompt",      "two orange hearts",
                                         "--frames-as",  "png",      "--output-path", folder.path()};
  const CommandResult result = RunCommand(line);
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.err.find("this model makes single pictures"), std::string::npos) << result.err;
  auto frames = line;
  frames[4] = "--num-frames";
  frames[5] = "9";
  EXPECT_NE(RunCommand(frames).err.find("--num-frames 9: this model makes single pictures"), std::string::npos);
}

}  // namespace
}  // namespace tessera::testing
