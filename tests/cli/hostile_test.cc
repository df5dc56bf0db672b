#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/hostile.h"

namespace tessera {

std::vector<std::string> Generate(const std::vector<std::string>& more) {
  std::vector<std::string> words{"generate", "--model-path", "model"};
  words.insert(words.end(), more.begin(), more.end());
  const auto add = [&](const std::string& flag, const std::string& value) {
    const auto given = [&](const std::string& word) { return word.starts_with(flag); };
    if (std::none_of(more.begin(), more.end(), given)) words.insert(words.end(), {flag, value});
  };
  add("--prompt", "a red house");
  add("--height", "64");
  add("--width", "64");
  add("--num-inference-steps", "1");
  return words;
}

namespace {

class HostileInput : public testing::TestWithParam<Hostile> {};

TEST_P(HostileInput, GetsOneClearLine) {
  const Hostile& hostile = GetParam();
  if (!CanConfine(hostile.confinement)) GTEST_SKIP() << "this machine cannot confine a program so";
  const EditedModel model(hostile.edits);
  const auto before = model.Listing();
  const Outcome outcome = Program(hostile.words, model.folder(), hostile.confinement).Wait();
  EXPECT_TRUE(outcome.in_time);
  EXPECT_EQ(outcome.signal, 0);
  EXPECT_GT(outcome.exit_code, 1) << "1 is for what nobody thought of";
  EXPECT_LT(outcome.exit_code, 10);
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_TRUE(outcome.err.starts_with("error: ")) << outcome.err;
  EXPECT_LT(outcome.err.size(), 800u) << outcome.err;
  EXPECT_THAT(outcome.err, testing::HasSubstr(hostile.says));
  EXPECT_EQ(model.Listing(), before);
}

std::string NameOf(const testing::TestParamInfo<Hostile>& row) { return row.param.name; }

INSTANTIATE_TEST_SUITE_P(Flags, HostileInput, testing::ValuesIn(HostileFlags()), NameOf);
INSTANTIATE_TEST_SUITE_P(Models, HostileInput, testing::ValuesIn(HostileModels()), NameOf);
INSTANTIATE_TEST_SUITE_P(Files, HostileInput, testing::ValuesIn(HostileFiles()), NameOf);

// The rows above prove nothing if the job itself did not run.
TEST(HostileInputBaseline, TheUneditedJobSucceeds) {
  const EditedModel model({});
  const Outcome outcome =
      Program(Generate({"--output-file-name", "fine.png"}), model.folder(), Confinement::kNone).Wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(std::filesystem::exists(model.folder() / "outputs/fine.png"));
}

TEST(HostileInputBaseline, TheEditingModelReadsAPicture) {
  const EditedModel model(
      {{What::kJson, "model/model_index.json", "/supports_image_edit=true"},
       {What::kLink, "cat.png", TESSERA_SOURCE_FOLDER "/tests/golden/media/resize_lanczos_64x96.png"}});
  const Outcome outcome = Program(Generate({"--image-path", "cat.png", "--output-file-name", "fine.png"}),
                                  model.folder(), Confinement::kNone)
                              .Wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

}  // namespace
}  // namespace tessera
