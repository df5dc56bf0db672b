// generate --from-image with a film: what is inside makes the same frames again.
#include <gtest/gtest.h>

#include <filesystem>

#include "media/film.h"
#include "media/read_film.h"
#include "support/command.h"

namespace tessera::testing {
namespace {

const std::string kWan = TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/wan21_t2v_tiny";

class FilmRepeat : public ::testing::TestWithParam<const char*> {
 protected:
  CommandResult Generate(std::vector<std::string> more) const {
    std::vector<std::string> line = {TESSERA_BINARY, "generate",    "--output-path",
                                     folder_.path(), "--log-level", "error"};
    line.insert(line.end(), more.begin(), more.end());
    return RunCommand(line);
  }
  // The film under the parameter's name, and the same film as frames to compare with.
  void MakeFilm(const std::string& frames) const {
    const std::string name = GetParam();
    std::vector<std::string> words = {
        "--model-path",          kWan, "--prompt", "a red fox", "--height",     "32",  "--width", "48",
        "--num-inference-steps", "2",  "--fps",    "12.5",      "--num-frames", frames};
    std::vector<std::string> film = words;
    film.insert(film.end(), {"--output-file-name", name});
    if (name.find('.') == std::string::npos) film.insert(film.end(), {"--frames-as", "png"});
    ASSERT_EQ(Generate(film).exit_code, 0);
    words.insert(words.end(), {"--output-file-name", "wanted", "--frames-as", "png"});
    ASSERT_EQ(Generate(words).exit_code, 0);
  }
  void ExpectTheSameAgain() const {
    const CommandResult again =
        Generate({"--from-image", folder_ / GetParam(), "--output-file-name", "again", "--frames-as", "png"});
    ASSERT_EQ(again.exit_code, 0) << again.err;
    const auto frames = ReadFilm(folder_ / "again"), wanted = ReadFilm(folder_ / "wanted");
    ASSERT_EQ(frames.size(), wanted.size());
    for (size_t t = 0; t < frames.size(); ++t) EXPECT_EQ(frames[t].rgb, wanted[t].rgb) << t;
    EXPECT_EQ(ReadFilmText(folder_ / "again").at("parameters"), ReadFilmText(folder_ / "wanted").at("parameters"));
  }
  const TemporaryFolder folder_;
};

TEST_P(FilmRepeat, MakesTheSameFrames) {
  MakeFilm("9");
  ExpectTheSameAgain();
}

TEST_P(FilmRepeat, MakesOneFrameFromOne) {
  MakeFilm("1");
  ExpectTheSameAgain();
}

INSTANTIATE_TEST_SUITE_P(Formats, FilmRepeat,
                         ::testing::Values("film.mp4", "film.webm", "film.webp", "film.gif", "film"));

}  // namespace
}  // namespace tessera::testing
