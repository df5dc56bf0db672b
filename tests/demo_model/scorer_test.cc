#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "demo_model/scene.h"
#include "demo_model/scorer.h"
#include "media/picture.h"

namespace tessera::demo {
namespace {

using Json = nlohmann::json;

const std::string kGolden = TESSERA_SOURCE_FOLDER "/tests/golden/";

std::vector<Json> JsonLines(const std::string& path) {
  std::ifstream file(path);
  std::vector<Json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
  return lines;
}

std::string Name(Size size) { return size == Size::kSmall ? "small" : size == Size::kBig ? "big" : "medium"; }
std::string Name(Pattern pattern) {
  return pattern == Pattern::kStriped ? "striped" : pattern == Pattern::kDotted ? "dotted" : "solid";
}

Json ToJson(const Scene& scene) {
  Json objects = Json::array();
  for (const Object& object : scene.objects) {
    objects.push_back({{"shape", object.shape},
                       {"color", object.color},
                       {"size", Name(object.size)},
                       {"pattern", Name(object.pattern)}});
  }
  return {{"relation", scene.relation},
          {"position", scene.position},
          {"count", scene.count},
          {"objects", objects},
          {"background", scene.background}};
}

TEST(ParseCaption, ReadsTheScenesTheCaptionsWereMadeFrom) {
  const std::vector<Json> captions = JsonLines(kGolden + "demo_captions.jsonl");
  ASSERT_GT(captions.size(), 500u);
  for (Json expected : captions) {
    const std::string prompt = expected["prompt"];
    const std::optional<Scene> scene = ParseCaption(prompt);
    expected.erase("prompt");
    ASSERT_EQ(scene.has_value(), !expected["relation"].is_null()) << prompt;
    if (!scene) continue;
    EXPECT_EQ(ToJson(*scene), expected) << prompt;
  }
}

Score ExpectedScore(const Json& drawing) {
  return {drawing["color"], drawing["place"], drawing["shape"], drawing["background"]};
}

Json ToJson(const Score& score) {
  return {{"color", score.color}, {"place", score.place}, {"shape", score.shape}, {"background", score.background}};
}

// Drawings of tools/demo_model/scenes.py, true and damaged in one way each, with the scores of eval.py.
TEST(ScorePicture, AgreesWithTheScoresOfTheTrainingPackage) {
  const Json drawings = Json::parse(std::ifstream(kGolden + "demo_scores/cases.json"));
  ASSERT_GT(drawings.size(), 100u);
  for (const Json& drawing : drawings) {
    const std::string name = drawing["picture"];
    const Picture picture = ReadPicture(kGolden + "demo_scores/" + name);
    const std::optional<Scene> scene = ParseCaption(drawing["prompt"]);
    ASSERT_TRUE(scene) << drawing["prompt"];
    const Score score = ScorePicture(picture, *scene);
    EXPECT_EQ(ToJson(score), ToJson(ExpectedScore(drawing))) << name << ": " << drawing["prompt"];
    EXPECT_EQ(score.satisfied(), drawing["satisfied"].get<bool>()) << name;
    EXPECT_EQ(score.strict(), drawing["strict"].get<bool>()) << name;
  }
}

TEST(ScorePicture, AnEmptyPictureSatisfiesNoCaption) {
  Picture empty = {128, 128, std::vector<uint8_t>(128 * 128 * 3, 246)};
  for (const Json& line : JsonLines(kGolden + "demo_prompts.jsonl")) {
    EXPECT_FALSE(ScorePicture(empty, *ParseCaption(line["prompt"])).satisfied()) << line["prompt"];
  }
}

TEST(ScoreTable, CountsByKindOfScene) {
  const std::vector<ScoredScene> scored = {{*ParseCaption("a red circle"), {true, true, false, true}},
                                           {*ParseCaption("two red circles"), {false, true, true, true}}};
  const std::string table = ScoreTable(scored);
  EXPECT_THAT(table, testing::HasSubstr("all          50.0%  100.0%   50.0%      100.0%      50.0%    0.0%  (2)"));
  EXPECT_THAT(table, testing::HasSubstr("counts        0.0%"));
  EXPECT_THAT(table, testing::Not(testing::HasSubstr("inside")));
}

}  // namespace
}  // namespace tessera::demo
