#include "media/film.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>

#include "base/read_file.h"
#include "films/decode_film.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using testing::HasSubstr;

constexpr int64_t kFrames = 12;

std::string Bytes(const std::filesystem::path& path) { return ReadWholeFile(path, 1 << 26); }

class EveryFormat : public testing::TestWithParam<FilmFormat> {
 protected:
  FilmEncoding Encoding(int64_t height, int64_t width) const {
    return {.format = GetParam(), .height = height, .width = width, .quality = 90};
  }
  // H.264 pads by one to even sides.
  int64_t Stored(int64_t side) const { return GetParam() == FilmFormat::kMp4 ? (side + 1) / 2 * 2 : side; }
  double LeastPsnr() const { return GetParam() == FilmFormat::kFrames ? 99 : GetParam() == FilmFormat::kGif ? 28 : 33; }
  std::filesystem::path Path() const { return folder_.path() / FilmName(GetParam()); }

  TemporaryFolder folder_;
};

std::string FormatName(const testing::TestParamInfo<FilmFormat>& row) {
  constexpr const char* kNames[] = {"Mp4", "Webm", "Webp", "Gif", "Frames"};
  return kNames[static_cast<size_t>(row.param)];
}
INSTANTIATE_TEST_SUITE_P(Film, EveryFormat, testing::ValuesIn(kFilmFormats), FormatName);

// All but folders, which have no times, no quality and the bytes of PNG.
class EveryFile : public EveryFormat {};
INSTANTIATE_TEST_SUITE_P(Film, EveryFile, testing::ValuesIn(std::span(kFilmFormats).first(4)), FormatName);

TEST_P(EveryFormat, GivesTheFramesBack) {
  const DecodedFilm film = DecodeFilm(WritePattern(Path(), Encoding(64, 96), kFrames));
  ASSERT_EQ(film.frames.size(), static_cast<size_t>(kFrames));
  for (size_t i = 0; i < film.frames.size(); ++i) {
    EXPECT_GT(Psnr(film.frames[i], PatternFrame(64, 96, static_cast<int64_t>(i))), LeastPsnr()) << i;
  }
}

TEST_P(EveryFormat, HoldsOddSizes) {
  const DecodedFilm film = DecodeFilm(WritePattern(Path(), Encoding(35, 51), 3));
  ASSERT_EQ(film.frames.size(), 3u);
  ASSERT_EQ(film.frames[2].height, Stored(35));
  ASSERT_EQ(film.frames[2].width, Stored(51));
  EXPECT_GT(Psnr(Crop(film.frames[2], 0, 0, 35, 51), PatternFrame(35, 51, 2)), LeastPsnr());
}

TEST_P(EveryFormat, HoldsOneFrameOfOnePixel) {
  const DecodedFilm film = DecodeFilm(WritePattern(Path(), Encoding(1, 1), 1));
  ASSERT_EQ(film.frames.size(), 1u);
  EXPECT_EQ(film.frames[0].height, Stored(1));
  EXPECT_EQ(film.frames[0].width, Stored(1));
}

TEST_P(EveryFile, ShowsEachFrameAtItsTime) {
  constexpr double kTicks[] = {1e-4, 1e-3, 1e-3, 1e-2};
  for (const double rate : {8.0, 23.976, 12.5}) {
    FilmEncoding encoding = Encoding(16, 16);
    encoding.frame_rate = MakeFrameRate(rate);
    const DecodedFilm film = DecodeFilm(WritePattern(Path(), encoding, kFrames));
    ASSERT_EQ(film.begins.size(), static_cast<size_t>(kFrames));
    for (size_t i = 0; i < film.begins.size(); ++i) {
      EXPECT_NEAR(film.begins[i], static_cast<double>(i) / rate, 0.6 * kTicks[static_cast<size_t>(GetParam())]) << i;
    }
  }
}

TEST_P(EveryFile, GivesTheSameBytesAgain) {
  FilmEncoding encoding = Encoding(48, 64);
  encoding.text = {{"parameters", "a cat"}, {"tessera", "{}"}};
  const std::string first = Bytes(WritePattern(Path(), encoding, kFrames));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Bytes(WritePattern(Path(), encoding, kFrames)) == first) << "film " << i;
}

TEST_P(EveryFile, FollowsTheQuality) {
  FilmEncoding encoding = Encoding(64, 96);
  const std::string fine = Bytes(WritePattern(Path(), encoding, 4));
  encoding.quality = 10;
  EXPECT_LT(Bytes(WritePattern(Path(), encoding, 4)).size(), fine.size());
}

TEST_P(EveryFormat, TakesTheEndsOfTheQuality) {
  for (const int quality : {1, 100}) {
    FilmEncoding encoding = Encoding(32, 32);
    encoding.quality = quality;
    EXPECT_EQ(DecodeFilm(WritePattern(Path(), encoding, 2)).frames.size(), 2u);
  }
}

TEST_P(EveryFormat, ReplacesTheFilmThatWasThere) {
  WritePattern(Path(), Encoding(16, 16), 5);
  WritePattern(Path(), Encoding(16, 16), 2);
  EXPECT_EQ(DecodeFilm(Path()).frames.size(), 2u);
}

TEST(Film, Mp4IsWhatEveryPlayerShows) {
  const TemporaryFolder folder;
  for (const int quality : {50, 100}) {
    const auto path = WritePattern(folder.path() / "a.mp4", {.height = 32, .width = 32, .quality = quality}, kFrames);
    const DecodedFilm film = DecodeFilm(path);
    EXPECT_EQ(film.codec, "h264");
    EXPECT_EQ(film.pixel_format, "yuv420p");
    EXPECT_EQ(film.matrix, "bt709");
  }
}

TEST(Film, Mp4BeginsWithItsIndex) {
  const TemporaryFolder folder;
  const std::string bytes = Bytes(WritePattern(folder.path() / "a.mp4", {.height = 32, .width = 32}, kFrames));
  EXPECT_THAT(bytes, HasSubstr("moov"));
  EXPECT_LT(bytes.find("moov"), bytes.find("mdat"));
}

TEST(Film, WebmIsVp9) {
  const TemporaryFolder folder;
  const FilmEncoding encoding{.format = FilmFormat::kWebm, .height = 32, .width = 32};
  const DecodedFilm film = DecodeFilm(WritePattern(folder.path() / "a.webm", encoding, kFrames));
  EXPECT_EQ(film.codec, "vp9");
  EXPECT_EQ(film.pixel_format, "yuv420p");
}

TEST(Film, WebpOfFullQualityLosesNothing) {
  const TemporaryFolder folder;
  const FilmEncoding encoding{.format = FilmFormat::kWebp, .height = 32, .width = 40, .quality = 100};
  const DecodedFilm film = DecodeFilm(WritePattern(folder.path() / "a.webp", encoding, 3));
  ASSERT_EQ(film.frames.size(), 3u);
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(film.frames[static_cast<size_t>(i)].rgb, PatternFrame(32, 40, i).rgb);
}

TEST(Film, FormatsAreFoundByName) {
  EXPECT_EQ(FilmFormatOf("a/b.MP4"), FilmFormat::kMp4);
  EXPECT_EQ(FilmFormatOf("b.webm"), FilmFormat::kWebm);
  EXPECT_EQ(FilmFormatOf("b.WebP"), FilmFormat::kWebp);
  EXPECT_EQ(FilmFormatOf("b.gif"), FilmFormat::kGif);
  EXPECT_EQ(FilmFormatOf("frames/"), FilmFormat::kFrames);
}

TEST(Film, UnknownNamesTellWhichWork) {
  for (const char* name : {"a.avi", "a", "", ".mp4x", "mp4"}) {
    EXPECT_THAT(ErrorOf([&] { FilmFormatOf(name); }), HasSubstr(".mp4 .webm .webp .gif work")) << name;
  }
}

TEST(FrameRate, IsTheFractionThatIsMeant) {
  const auto fraction = [](double rate) {
    const FrameRate made = MakeFrameRate(rate);
    return std::pair{made.numerator, made.denominator};
  };
  EXPECT_EQ(fraction(24), std::pair(int64_t{24}, int64_t{1}));
  EXPECT_EQ(fraction(23.976), std::pair(int64_t{24000}, int64_t{1001}));
  EXPECT_EQ(fraction(23.98), std::pair(int64_t{24000}, int64_t{1001}));
  EXPECT_EQ(fraction(29.97), std::pair(int64_t{30000}, int64_t{1001}));
  EXPECT_EQ(fraction(12.5), std::pair(int64_t{25}, int64_t{2}));
  EXPECT_EQ(fraction(0.01), std::pair(int64_t{1}, int64_t{100}));
  EXPECT_EQ(fraction(1000), std::pair(int64_t{1000}, int64_t{1}));
}

}  // namespace
}  // namespace tessera
