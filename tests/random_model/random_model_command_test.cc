// A random model through the program: written, then drawn from.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "media/picture.h"
#include "media/read_film.h"
#include "support/command.h"

namespace tessera {
namespace {

using testing::CommandResult;
using ::testing::HasSubstr;
using testing::RunCommand;
using testing::TemporaryFolder;

CommandResult Make(const std::string& name, const std::string& folder, const std::vector<std::string>& more = {}) {
  std::vector<std::string> command = {TESSERA_BINARY, "make-random-model", "--like", name, "--output", folder};
  command.insert(command.end(), more.begin(), more.end());
  return RunCommand(command);
}

CommandResult MakeTiny(const std::string& folder, const std::vector<std::string>& more = {}) {
  return Make("flux2-klein-tiny", folder, more);
}

int SpreadOf(const Picture& picture) {
  const auto [least, most] = std::minmax_element(picture.rgb.begin(), picture.rgb.end());
  return *most - *least;
}

// A film of five frames.
CommandResult Film(const std::string& model, const std::string& file, const std::vector<std::string>& more) {
  std::vector<std::string> command = {TESSERA_BINARY,
                                      "generate",
                                      "--model-path",
                                      model,
                                      "--prompt",
                                      "na\xc3\xafve \xe7\x8c\xab",
                                      "--num-frames",
                                      "5",
                                      "--height",
                                      "32",
                                      "--width",
                                      "32",
                                      "--output-path",
                                      std::filesystem::path(file).parent_path().string(),
                                      "--output-file-name",
                                      std::filesystem::path(file).filename().string()};
  command.insert(command.end(), more.begin(), more.end());
  return RunCommand(command);
}

TEST(MakeRandomModel, MakesAModelThatGenerates) {
  const TemporaryFolder folder;
  for (const char* dtype : {"fp32", "bf16", "fp16"}) {
    const std::string model = folder / dtype, pictures = folder / (std::string(dtype) + "_pictures");
    const CommandResult made = MakeTiny(model, {"--dtype", dtype, "--shard-bytes", "200000"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    const CommandResult drawn =
        RunCommand({TESSERA_BINARY, "generate", "--model-path", model, "--prompt", "na\xc3\xafve \xe7\x8c\xab",
                    "--height", "64", "--width", "96", "--output-path", pictures, "--output-file-name", "a.png"});
    ASSERT_EQ(drawn.exit_code, 0) << drawn.err;
    const Picture picture = ReadPicture(pictures + "/a.png");
    EXPECT_EQ(picture.height, 64);
    EXPECT_EQ(picture.width, 96);
    EXPECT_GT(SpreadOf(picture), 20) << "a flat picture: activations vanished or overflowed";
  }
}

TEST(MakeRandomModel, MakesWanModelsThatGenerate) {
  const std::string picture = TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/wan21_i2v_tiny/image_ref0.png";
  const struct {
    const char* name;
    std::vector<std::string> flags;
  } models[] = {{"wan-tiny", {"--num-inference-steps", "2"}},
                {"wan-i2v-tiny", {"--num-inference-steps", "2", "--image-path", picture}},
                {"wan-a14b-tiny", {"--num-inference-steps", "2"}},
                {"wan-ti2v-tiny", {"--num-inference-steps", "2"}},
                {"fastwan-tiny", {}}};
  const TemporaryFolder folder;
  for (const auto& row : models) {
    const std::string model = folder / row.name, film = model + ".webp";
    const CommandResult made = Make(row.name, model, {"--shard-bytes", "500000"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    const CommandResult drawn = Film(model, film, row.flags);
    ASSERT_EQ(drawn.exit_code, 0) << row.name << drawn.err;
    const std::vector<Picture> frames = ReadFilm(film);
    ASSERT_EQ(frames.size(), 5u) << row.name;
    for (const Picture& frame : frames) {
      EXPECT_GT(SpreadOf(frame), 20) << row.name << ": a flat frame, activations vanished or overflowed";
    }
  }
}

TEST(MakeRandomModel, ListsTheModelsAsTheReadmeDoes) {
  const CommandResult listed = RunCommand({TESSERA_BINARY, "make-random-model", "--list", "--markdown"});
  ASSERT_EQ(listed.exit_code, 0) << listed.err;
  std::ifstream file(TESSERA_SOURCE_FOLDER "/README.md");
  const std::string readme{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(readme, HasSubstr(listed.out)) << "put the table of make-random-model --list --markdown there";
}

TEST(MakeRandomModel, TakesTheNumbersOfLayersItIsTold) {
  const TemporaryFolder folder;
  const std::string model = folder / "model";
  ASSERT_EQ(MakeTiny(model, {"--text-layers", "3", "--double-blocks", "2", "--single-blocks", "1"}).exit_code, 0);
  const auto read = [&](const char* file) { return nlohmann::json::parse(std::ifstream(model + file)); };
  EXPECT_EQ(read("/text_encoder/config.json")["num_hidden_layers"], 3);
  EXPECT_EQ(read("/transformer/config.json")["num_layers"], 2);
  EXPECT_EQ(read("/transformer/config.json")["num_single_layers"], 1);
}

TEST(MakeRandomModel, RefusesFewerTextLayersThanPicturesNeed) {
  const TemporaryFolder folder;
  const CommandResult made = MakeTiny(folder / "model", {"--text-layers", "2"});
  EXPECT_EQ(made.exit_code, 2);
  EXPECT_THAT(made.err, HasSubstr("--text-layers 2: too few"));
  EXPECT_FALSE(std::filesystem::exists(folder / "model"));
}

TEST(MakeRandomModel, RefusesLayersThatAModelDoesNotHave) {
  const TemporaryFolder folder;
  const CommandResult layers = Make("wan-tiny", folder / "model", {"--layers", "3"});
  EXPECT_EQ(layers.exit_code, 2);
  EXPECT_THAT(layers.err, HasSubstr("--layers 3: too many, wan-tiny has 2\n"));
  const CommandResult text = Make("wan-tiny", folder / "model", {"--text-layers", "0"});
  EXPECT_EQ(text.exit_code, 2);
  const CommandResult blocks = Make("wan-tiny", folder / "model", {"--double-blocks", "1"});
  EXPECT_EQ(blocks.exit_code, 2);
  EXPECT_FALSE(std::filesystem::exists(folder / "model"));
}

TEST(MakeRandomModel, RefusesFlagsThatDoNotGoTogether) {
  const CommandResult made = RunCommand({TESSERA_BINARY, "make-random-model", "--markdown"});
  EXPECT_EQ(made.exit_code, 2);
  EXPECT_THAT(made.err, HasSubstr("--markdown: needs --list"));
  const CommandResult listed = RunCommand({TESSERA_BINARY, "make-random-model", "--list", "--layers", "3"});
  EXPECT_EQ(listed.exit_code, 2);
  EXPECT_THAT(listed.err, HasSubstr("--layers: not with --list"));
}

}  // namespace
}  // namespace tessera
