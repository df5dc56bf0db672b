#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "media/film.h"
#include "media/picture.h"
#include "support/command.h"

namespace tessera {
namespace {

using testing::CommandResult;
using ::testing::HasSubstr;
using testing::RunCommand;
using testing::TemporaryFolder;

CommandResult Compare(const TemporaryFolder& folder, const std::vector<std::string>& more) {
  std::vector<std::string> words = {TESSERA_BINARY,
                                    "compare",
                                    "--model-path",
                                    TESSERA_SOURCE_FOLDER "/models/demo",
                                    "--prompt",
                                    "a red house",
                                    "--height",
                                    "64",
                                    "--width",
                                    "64",
                                    "--num-inference-steps",
                                    "2",
                                    "--output-path",
                                    folder.path(),
                                    "--log-level",
                                    "error"};
  words.insert(words.end(), more.begin(), more.end());
  return RunCommand(words);
}

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(CompareProgram, WritesSheetJsonAndReport) {
  const TemporaryFolder folder;
  const CommandResult result = Compare(folder, {"--backends", "fa,torch_sdpa,sage_attn", "--seeds", "1,2",
                                                "--backend-config", "sage_attn:smooth_v=true"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("PSNR dB"));
  const Picture sheet = ReadPicture(folder / "compare.png");
  EXPECT_GT(sheet.width, 3 * 64);
  EXPECT_THAT(TextOf(folder / "compare.html"), HasSubstr("data:image/png;base64,"));
  const auto json = nlohmann::json::parse(TextOf(folder / "compare.json"));
  ASSERT_EQ(json["backends"].size(), 3u);
  EXPECT_EQ(json["backends"][0]["identical_pictures"], 2);
  EXPECT_LT(json["backends"][1]["latents_rel_l1"].get<double>(), 0.01);
  EXPECT_GT(json["backends"][2]["latents_rel_l1"].get<double>(), json["backends"][1]["latents_rel_l1"].get<double>());
  EXPECT_EQ(json["backends"][2]["attention"].size() > 0, true);
}

TEST(CompareProgram, TheSameBackendTwiceGivesTheSamePictures) {
  const TemporaryFolder folder;
  const CommandResult result = Compare(folder, {"--backends", "a=fa,b=fa", "--json", "--seeds", "7"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["backends"][1]["identical_pictures"], 1);
  EXPECT_EQ(json["backends"][1]["latents_rel_l1"], 0.0);
  EXPECT_EQ(json["seeds"], nlohmann::json({7}));
}

TEST(CompareProgram, RefusesInOneLine) {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::vector<std::string>, const char*>> mistakes = {
      {{}, "compare needs --backends"},
      {{"--backends", "fa,nosuch"}, "nosuch"},
      {{"--backends", "fa", "--seeds", "1,1"}, "named twice"},
      {{"--backends", "fa", "--seeds", "-1"}, "--seeds"},
      {{"--backends", "fa", "--attention-backend", "fa"}, "compare takes --backends"},
      {{"--backends", "fa", "--save-latents", "x.safetensors"}, "compare writes"},
      {{"--backends", "fa", "--prompts-file", "nosuch.txt"}, "either --prompt or"},
      {{"--backends", "fa", "--output-path", "/proc/nosuch"}, "--output-path"},
  };
  for (const auto& [words, says] : mistakes) {
    const CommandResult result = Compare(folder, words);
    EXPECT_GT(result.exit_code, 1) << says;
    EXPECT_LT(result.exit_code, 10) << says;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_THAT(result.err, HasSubstr(says));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

// Frame t is of one grey, 10 * t + `offset`.
void WriteFilm(const std::string& path, int64_t frames, uint8_t offset, int64_t width = 32) {
  FilmEncoding encoding{.format = FilmFormatOf(path), .height = 16, .width = width};
  encoding.quality = 100;
  const auto film = OpenFilm(path, encoding);
  for (int64_t t = 0; t < frames; ++t) {
    Picture frame{16, width, {}};
    frame.rgb.assign(static_cast<size_t>(16 * width * 3), static_cast<uint8_t>(10 * t + offset));
    film->Add(frame);
  }
  film->Finish();
}

CommandResult CompareFilmsThere(const TemporaryFolder& folder, std::vector<std::string> words) {
  std::vector<std::string> line = {TESSERA_BINARY, "compare"};
  for (const std::string& word : words) line.push_back(word.starts_with("--") ? word : folder / word);
  line.insert(line.end(), {"--output-path", folder / "report", "--json"});
  return RunCommand(line);
}

TEST(CompareFilms, ReadsEveryFormat) {
  const TemporaryFolder folder;
  WriteFilm(folder / "a/", 4, 50);
  for (const char* name : {"b.webp", "c.gif", "d.mp4", "e.webm"}) WriteFilm(folder / name, 4, 50);
  const CommandResult result = CompareFilmsThere(folder, {"a", "b.webp", "c.gif", "d.mp4", "e.webm"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["films"][1]["pictures"][0]["identical"], true);  // lossless
  for (const auto& film : json["films"]) {
    EXPECT_EQ(film["pictures"][0]["frames"], 4);
    EXPECT_TRUE(film["psnr"].is_null() || film["psnr"].get<double>() > 35) << film.dump();
  }
  for (const char* name : {"compare.png", "compare.html", "compare.json"}) {
    EXPECT_TRUE(std::filesystem::exists(folder / "report/" + name)) << name;
  }
}

TEST(CompareFilms, ScoresAgainstTheFirst) {
  const TemporaryFolder folder;
  WriteFilm(folder / "a/", 3, 50);
  WriteFilm(folder / "b/", 3, 51);
  const CommandResult result = CompareFilmsThere(folder, {"a", "b"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto film = nlohmann::json::parse(result.out)["films"][1];
  EXPECT_NEAR(film["psnr"].get<double>(), 48.1308, 1e-3);
  EXPECT_EQ(film["temporal_difference"], 0.0);
  EXPECT_EQ(film["pictures"][0]["per_frame"]["psnr"].size(), 3u);
}

TEST(CompareFilms, RefusesInOneLine) {
  const TemporaryFolder folder;
  WriteFilm(folder / "a/", 3, 50);
  WriteFilm(folder / "short/", 2, 50);
  WriteFilm(folder / "wide/", 3, 50, 48);
  std::ofstream(folder / "text.mp4") << "no film";
  const std::vector<std::pair<std::vector<std::string>, const char*>> mistakes = {
      {{"a"}, "one film is named"},
      {{"a", "a"}, "named twice"},
      {{"a", "short"}, "'short' has 2 frames"},
      {{"a", "wide"}, "48 x 16 pixels"},
      {{"a", "nosuch"}, "nosuch"},
      {{"a", "text.mp4"}, "is not a film"},
      {{"a", "short", "--seed=3"}, "--seed"},
      {{"a", "short", "--backends=fa"}, "--backends"},
  };
  for (const auto& [words, says] : mistakes) {
    const CommandResult result = CompareFilmsThere(folder, words);
    EXPECT_GT(result.exit_code, 1) << says;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_THAT(result.err, HasSubstr(says));
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "report"));
}

}  // namespace
}  // namespace tessera
