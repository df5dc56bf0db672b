#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/read_file.h"
#include "films/decode_film.h"
#include "media/generation_text.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using testing::HasSubstr;
using Text = std::map<std::string, std::string>;

Text TextOf(FilmFormat format, const Text& text) {
  const TemporaryFolder folder;
  const FilmEncoding encoding{.format = format, .height = 16, .width = 16, .text = text};
  return ReadFilmText(WritePattern(folder.path() / FilmName(format), encoding, 2));
}

TEST(FilmText, ComesBackFromEveryFormat) {
  GenerationText generation;
  generation.prompt =
      "a \xC3\xBC"
      "ber cat, \xE7\x8C\xAB \xF0\x9F\x90\x88 \"q\"\nsecond line <b> & \\";
  generation.model = "some/model";
  generation.seed = 42;
  for (const FilmFormat format : kFilmFormats) {
    const Text text = TextOf(format, MakePictureText(generation));
    EXPECT_EQ(text, MakePictureText(generation)) << FilmName(format);
    EXPECT_EQ(ParsePictureText(text, "film").prompt, generation.prompt);
  }
}

TEST(FilmText, AnyKeysComeBack) {
  for (const FilmFormat format : kFilmFormats) {
    for (const Text& text : {Text{{"parameters", "{\"a\":\"b\"}"}}, Text{{"tessera", "{}"}},
                             Text{{"description", "{}"}}, Text{{"comment", "x"}, {"empty", ""}}}) {
      EXPECT_EQ(TextOf(format, text), text) << FilmName(format);
    }
  }
}

TEST(FilmText, LongTextComesBack) {
  const Text text{{"parameters", std::string(70000, 'p')}, {"tessera", std::string(100000, 't')}};
  for (const FilmFormat format : kFilmFormats) EXPECT_EQ(TextOf(format, text), text) << FilmName(format);
}

TEST(FilmText, WithoutTextThereIsNone) {
  for (const FilmFormat format : kFilmFormats) EXPECT_EQ(TextOf(format, {}), Text()) << FilmName(format);
}

TEST(FilmText, OtherProgramsGifCommentsAreParameters) {
  const TemporaryFolder folder;
  const auto path = folder.Write("a.gif", std::string("GIF89a\x01\0\x01\0\0\0\0\x21\xFE\x03"
                                                      "cat\0;",
                                                      21));
  EXPECT_EQ(ReadFilmText(path), (Text{{"parameters", "cat"}}));
}

TEST(FilmText, SurvivesAnyCut) {
  const TemporaryFolder folder;
  for (const FilmFormat format : {FilmFormat::kMp4, FilmFormat::kWebm, FilmFormat::kWebp, FilmFormat::kGif}) {
    const FilmEncoding encoding{.format = format, .height = 16, .width = 16, .text = {{"parameters", "a cat"}}};
    const std::string whole = ReadWholeFile(WritePattern(folder.path() / FilmName(format), encoding, 1), 1 << 20);
    for (size_t length = 0; length < whole.size(); length += 1 + whole.size() / 150) {
      const auto path = folder.Write("cut", whole.substr(0, length));
      try {
        EXPECT_LE(ReadFilmText(path).size(), 2u);
      } catch (const Error&) {
      }
    }
  }
}

TEST(FilmText, RefusesWhatIsNoFilm) {
  const TemporaryFolder folder;
  EXPECT_THAT(ErrorOf([&] { ReadFilmText(folder.path() / "none.mp4"); }), HasSubstr("cannot open"));
  EXPECT_THAT(ErrorOf([&] { ReadFilmText(folder.path()); }), HasSubstr("00000.png"));
  EXPECT_THAT(ErrorOf([&] { ReadFilmText(folder.Write("a.mp4", "#EXTM3U\nfile:///etc/passwd")); }),
              HasSubstr("is not a film that can be read"));
  EXPECT_THAT(ErrorOf([&] { ReadFilmText("/dev/null"); }), HasSubstr("neither a file nor a folder"));
}

}  // namespace
}  // namespace tessera
