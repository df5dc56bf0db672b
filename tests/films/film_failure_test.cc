#include <sys/resource.h>

#include <cmath>
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "films/decode_film.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> Names(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  return names;
}

FilmEncoding Encoding(FilmFormat format) { return {.format = format, .height = 64, .width = 64}; }

std::string Refusal(const FilmEncoding& encoding) {
  const TemporaryFolder folder;
  const std::string message = ErrorOf([&] { OpenFilm(folder.path() / "sub" / FilmName(encoding.format), encoding); });
  EXPECT_THAT(Names(folder.path()), IsEmpty());
  return message;
}

// Files cannot grow beyond that while it lives, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit small = before_;
    small.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST(FilmFailure, NothingIsSeenBeforeTheEndNorLeftWithoutIt) {
  const TemporaryFolder folder;
  for (const FilmFormat format : kFilmFormats) {
    const fs::path path = folder.path() / "sub" / FilmName(format);
    {
      const auto film = OpenFilm(path, Encoding(format));
      for (int64_t i = 0; i < 3; ++i) film->Add(PatternFrame(64, 64, i));
      EXPECT_FALSE(fs::exists(path));
    }
    EXPECT_THAT(Names(folder.path()), IsEmpty()) << FilmName(format);
  }
}

TEST(FilmFailure, AFullDiskLeavesNothing) {
  const TemporaryFolder folder;
  for (const FilmFormat format : kFilmFormats) {
    std::string message;
    {
      const FileSizeLimit limit(700);
      message = ErrorOf([&] { WritePattern(folder.path() / "sub" / FilmName(format), Encoding(format), 8); });
    }
    EXPECT_THAT(message, HasSubstr("file too large"));
    EXPECT_THAT(message, HasSubstr("sub/" + FilmName(format)));
    EXPECT_THAT(Names(folder.path()), IsEmpty()) << FilmName(format);
  }
}

TEST(FilmFailure, AnUnwritablePlaceFailsBeforeTheFirstFrame) {
  const TemporaryFolder folder;
  folder.Write("file", "x");
  for (const FilmFormat format : kFilmFormats) {
    EXPECT_THAT(ErrorOf([&] { OpenFilm(folder.path() / "file" / FilmName(format), Encoding(format)); }),
                HasSubstr("not a directory"));
  }
}

TEST(FilmFailure, AFilmWithoutFramesIsNotWritten) {
  const TemporaryFolder folder;
  for (const FilmFormat format : kFilmFormats) {
    EXPECT_THAT(ErrorOf([&] { OpenFilm(folder.path() / FilmName(format), Encoding(format))->Finish(); }),
                HasSubstr("without frames"));
  }
  EXPECT_THAT(Names(folder.path()), IsEmpty());
}

TEST(FilmFailure, SizesOutOfRangeAreRefused) {
  for (const FilmFormat format : kFilmFormats) {
    FilmEncoding encoding = Encoding(format);
    for (const int64_t height : {int64_t{0}, int64_t{-5}}) {
      encoding.height = height;
      EXPECT_THAT(Refusal(encoding), HasSubstr("pixels has none"));
    }
    for (const int64_t height : {int64_t{100000000}, INT64_MAX}) {
      encoding.height = height;
      EXPECT_THAT(Refusal(encoding), HasSubstr("cannot hold frames of 64 x " + std::to_string(height)));
    }
  }
}

TEST(FilmFailure, RatesOutOfRangeAreRefused) {
  for (const FrameRate& rate : {FrameRate{0, 1}, FrameRate{24, 0}, FrameRate{-24, 1}, FrameRate{24, -1},
                                FrameRate{1001, 1}, FrameRate{1, 101}, FrameRate{INT64_MAX, INT64_MAX}}) {
    FilmEncoding encoding = Encoding(FilmFormat::kMp4);
    encoding.frame_rate = rate;
    EXPECT_THAT(Refusal(encoding), HasSubstr("frames per second cannot be made, 0.01 to 1000 can"));
  }
  for (const double rate : {0.0, -1.0, 1e9, std::nan(""), HUGE_VAL}) {
    EXPECT_THAT(ErrorOf([&] { MakeFrameRate(rate); }), HasSubstr("frames per second cannot be made"));
  }
}

TEST(FilmFailure, RatesOfGifAndWebpAreRefusedWherePlayersSlowDown) {
  FilmEncoding encoding = Encoding(FilmFormat::kGif);
  encoding.frame_rate = {60, 1};
  EXPECT_THAT(Refusal(encoding), HasSubstr("a GIF cannot show 60 frames per second, at most 50"));
  encoding.format = FilmFormat::kWebp;
  encoding.frame_rate = {120, 1};
  EXPECT_THAT(Refusal(encoding), HasSubstr("an animated WebP cannot show 120 frames per second, at most 90"));
}

TEST(FilmFailure, QualitiesOutOfRangeAreRefused) {
  for (const int quality : {0, 101, -1}) {
    FilmEncoding encoding = Encoding(FilmFormat::kMp4);
    encoding.quality = quality;
    EXPECT_EQ(Refusal(encoding), "a film's quality is 1 to 100, not " + std::to_string(quality));
  }
}

TEST(FilmFailure, TextThatIsNoneIsRefused) {
  FilmEncoding encoding = Encoding(FilmFormat::kMp4);
  encoding.text = {{"a", "\xFF"}};
  EXPECT_THAT(Refusal(encoding), HasSubstr("valid UTF-8 without NUL is needed"));
}

TEST(FilmFailure, AFolderWithOtherFilesIsNotReplaced) {
  const TemporaryFolder folder;
  folder.Write("film/00000.png", "x");
  folder.Write("film/letter.txt", "dear");
  EXPECT_THAT(ErrorOf([&] { OpenFilm(folder.path() / "film", Encoding(FilmFormat::kFrames)); }),
              HasSubstr("holds 'letter.txt', which would be lost"));
  EXPECT_EQ(Names(folder.path() / "film").size(), 2u);
}

}  // namespace
}  // namespace tessera
