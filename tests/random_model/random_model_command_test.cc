// A random model through the program: written, then drawn from.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "media/picture.h"
#include "support/command.h"

namespace tessera {
namespace {

using testing::CommandResult;
using ::testing::HasSubstr;
using testing::RunCommand;
using testing::TemporaryFolder;

CommandResult MakeTiny(const std::string& folder, const std::vector<std::string>& more = {}) {
  std::vector<std::string> command = {TESSERA_BINARY,     "make-random-model", "--like",
                                      "flux2-klein-tiny", "--output",          folder};
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
    const auto [least, most] = std::minmax_element(picture.rgb.begin(), picture.rgb.end());
    EXPECT_GT(*most - *least, 20) << "a flat picture: activations vanished or overflowed";
  }
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

}  // namespace
}  // namespace tessera
