// What a run was told about attention is what ran, and a picture repeats it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/edited_model.h"
#include "cli/run_program.h"
#include "media/generation_text.h"
#include "media/picture.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

class AttentionChoice : public ::testing::Test {
 protected:
  Outcome Run(std::vector<std::string> words) {
    const Outcome outcome = Program(words, model_.folder(), Confinement::kNone).Wait();
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome;
  }
  Outcome Draw(const std::string& name, std::vector<std::string> more) {
    more.insert(more.begin(), {"generate", "--output-file-name", name, "--perf-dump-path", "perf.json"});
    return Run(std::move(more));
  }
  nlohmann::json Performance() const { return nlohmann::json::parse(std::ifstream(model_.folder() / "perf.json")); }
  std::map<std::string, std::string> Settings(const std::string& name) const {
    const std::string path = (model_.folder() / "outputs" / name).string();
    return ParsePictureText(ReadPictureText(path), path).more;
  }
  static nlohmann::json Denoising(const nlohmann::json& rows) {
    nlohmann::json kept = nlohmann::json::array();
    for (const auto& row : rows) {
      if (row["component"] == "transformer") kept.push_back(row);
    }
    return kept;
  }

  const EditedModel model_{{}};
  const std::vector<std::string> scheduled_ = {
      "--model-path",
      "model",
      "--prompt",
      "a red house",
      "--height",
      "64",
      "--width",
      "64",
      "--num-inference-steps",
      "3",
      "--attention-schedule",
      R"([{"steps": "1-", "layers": "0", "backend": "sage_attn", "config": {"pv": "fp16"}}])",
      "--component-attention-backends.transformer.joint",
      "torch_sdpa",
      "--attention-backend",
      "fa"};
};

TEST_F(AttentionChoice, AScheduleRunsAndIsRepeatedByThePicture) {
  std::vector<std::string> words = scheduled_;
  words.erase(words.end() - 4, words.end() - 2);  // without the override
  Draw("a.png", words);
  const nlohmann::json rows = Denoising(Performance()["attention"]);
  ASSERT_EQ(rows.size(), 2u) << rows.dump(1);
  std::map<std::string, nlohmann::json> by_backend;
  for (const auto& row : rows)
    by_backend[row["backend"].get<std::string>() + " " + row["steps"].get<std::string>()] = row;
  EXPECT_EQ(by_backend["sage_attn 1-2"]["config"]["pv"], "fp16");
  EXPECT_EQ(by_backend["sage_attn 1-2"]["layers"], 1);
  EXPECT_EQ(by_backend["sage_attn 1-2"]["calls"], 4);  // two steps, each with and without the prompt

  Draw("b.png", {"--from-image", "outputs/a.png"});
  EXPECT_EQ(Settings("a.png"), Settings("b.png"));
  EXPECT_THAT(Settings("b.png")["attention-ran"], HasSubstr("--attention-schedule, rule 1"));
}

TEST_F(AttentionChoice, AnOverrideWinsOverASchedule) {
  Draw("c.png", scheduled_);
  for (const auto& row : Denoising(Performance()["attention"])) {
    EXPECT_EQ(row["backend"], "torch_sdpa");
    EXPECT_EQ(row["why"], "asked for by component override");
  }
  EXPECT_EQ(Settings("c.png")["component-attention-backends"], R"({"transformer.joint":"torch_sdpa"})");
}

TEST_F(AttentionChoice, ExplainSaysWhatRuns) {
  std::vector<std::string> words = scheduled_;
  words.insert(words.begin(), {"explain", "--json"});
  const nlohmann::json rows = Denoising(nlohmann::json::parse(Run(words).out));
  ASSERT_EQ(rows.size(), 1u) << rows.dump(1);
  EXPECT_EQ(rows[0]["backend"], "torch_sdpa");
  EXPECT_TRUE(rows[0]["rejected"].contains("fa"));
}

TEST_F(AttentionChoice, ExplainTakesAProblemInPlaceOfAModel) {
  const nlohmann::json rows = nlohmann::json::parse(
      Run({"explain", "--json", "--problem", "f32 b1 h2/2 d64 q96 kv96", "--layers", "4", "--num-inference-steps", "5",
           "--attention-schedule", R"([{"layers": "-1", "steps": "0.0-0.5", "backend": "torch_sdpa"}])"})
          .out);
  ASSERT_EQ(rows.size(), 3u) << rows.dump(1);
  EXPECT_EQ(rows[1]["layers"], nlohmann::json({3}));
  EXPECT_EQ(rows[1]["steps"], nlohmann::json({0, 2}));
  EXPECT_EQ(rows[1]["backend"], "torch_sdpa");
}

}  // namespace
}  // namespace tessera
