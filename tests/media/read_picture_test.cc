#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "media/golden_pictures.h"
#include "media/picture.h"

namespace tessera {
namespace {

using testing::HasSubstr;

// What the refusal says, or "read" when there was none.
std::string Refusal(const std::string& bytes) {
  try {
    DecodePicture(bytes, "picture");
    return "read";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFormat);
    return error.what();
  }
}

std::string BigEndian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xFF);
  return bytes;
}

// The CRC of PNG (ISO 3309), bit by bit.
uint32_t Crc(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1)));
  }
  return ~crc;
}

std::string PngHeader(uint32_t width, uint32_t height) {
  const std::string header = "IHDR" + BigEndian(width) + BigEndian(height) + std::string("\x08\x02\0\0\0", 5);
  return "\x89PNG\r\n\x1a\n" + BigEndian(13) + header + BigEndian(Crc(header));
}

class PictureKinds : public testing::TestWithParam<std::string> {};

TEST_P(PictureKinds, AreReadAsPilReadsThem) {
  const std::string name = GetParam();
  const std::string stem = name.substr(0, name.find('.'));
  const Picture picture = ReadPicture(GoldenPicture(name));
  const bool turned = stem == "turned_6" && !name.ends_with(".png");
  const Picture expected =
      ReadPicture(GoldenPicture(stem + (turned ? '_' + name.substr(name.find('.') + 1) : "") + ".expected.png"));
  ASSERT_EQ(picture.height, expected.height);
  ASSERT_EQ(picture.width, expected.width);
  EXPECT_EQ(picture.rgb, expected.rgb);
}

INSTANTIATE_TEST_SUITE_P(All, PictureKinds,
                         testing::Values("png_l.png", "png_la.png", "png_rgba.png", "png_1bit.png", "png_palette.png",
                                         "png_palette4.png", "png_palette_transparent.png", "png_rgb16.png",
                                         "png_rgba16.png", "png_interlaced.png", "png_interlaced_1x1.png",
                                         "png_grey4.png", "png_rgb_transparent.png", "jpeg_420.jpg",
                                         "jpeg_444_progressive.jpg", "jpeg_grey.jpg", "jpeg_cmyk.jpg",
                                         "webp_lossy.webp", "webp_alpha.webp", "webp_lossless.webp", "turned_1.png",
                                         "turned_2.png", "turned_3.png", "turned_4.png", "turned_5.png", "turned_6.png",
                                         "turned_7.png", "turned_8.png", "turned_6.jpg", "turned_6.webp"));

// PIL would saturate here: convert("RGB") of its 16-bit grey mode clips everything above 255 to white.
TEST(ReadPicture, SixteenBitGreyKeepsItsUpperByte) {
  const Picture grey = ReadPicture(GoldenPicture("png_grey16.png")),
                colour = ReadPicture(GoldenPicture("png_rgb16.png"));
  ASSERT_EQ(grey.rgb.size(), colour.rgb.size());
  for (size_t i = 0; i < grey.rgb.size(); ++i) EXPECT_EQ(grey.rgb[i], colour.rgb[i - i % 3]);
}

TEST(ReadPicture, RefusesHugePicturesByTheirHeader) {
  EXPECT_THAT(Refusal(PngHeader(50000, 50000)), HasSubstr("picture: has 50000 x 50000 pixels, at most 67 million"));
  EXPECT_THAT(Refusal(PngHeader(0x7FFFFFFF, 0x7FFFFFFF)), HasSubstr("has 2147483647 x 2147483647 pixels"));
  // Frame size 0xC350 x 0xC350 in place of 17 x 23.
  std::string jpeg = GoldenBytes("jpeg_420.jpg");
  const size_t frame = jpeg.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\xC3\x50\xC3\x50");
  EXPECT_THAT(Refusal(jpeg), HasSubstr("has 50000 x 50000 pixels"));
}

TEST(ReadPicture, ObeysTheCallersLimit) {
  const std::string bytes = GoldenBytes("webp_lossy.webp");
  EXPECT_EQ(DecodePicture(bytes, "picture", 17 * 23).width, 23);
  EXPECT_THROW(DecodePicture(bytes, "picture", 17 * 23 - 1), Error);
}

TEST(ReadPicture, RefusesPicturesWithoutPixels) {
  EXPECT_THAT(Refusal(PngHeader(0, 16)), HasSubstr("has no pixels (0 x 16)"));
  EXPECT_THAT(Refusal(PngHeader(16, 0)), HasSubstr("has no pixels (16 x 0)"));
  std::string jpeg = GoldenBytes("jpeg_420.jpg");
  jpeg.replace(jpeg.find("\xFF\xC0") + 5, 4, std::string(4, '\0'));
  EXPECT_THAT(Refusal(jpeg), HasSubstr("damaged JPEG"));
}

TEST(ReadPicture, RefusesWhatIsNoPicture) {
  EXPECT_THAT(Refusal(""), HasSubstr("picture: is empty"));
  EXPECT_THAT(Refusal("Just some text.\n"), HasSubstr("picture: is not a PNG, JPEG or WebP picture"));
  EXPECT_THAT(Refusal("\x89PNG\r\n\x1a\n"), HasSubstr("damaged PNG: the file is truncated"));
  EXPECT_THAT(Refusal("\xFF\xD8\xFF"), HasSubstr("damaged JPEG"));
  EXPECT_THAT(Refusal("RIFF1234WEBP"), HasSubstr("damaged WebP"));
  EXPECT_THAT(Refusal("RIFF"), HasSubstr("is not a PNG"));
}

TEST(ReadPicture, RefusesAnimations) {
  EXPECT_THAT(Refusal(GoldenBytes("animated.webp")), HasSubstr("is an animated WebP, a still picture is needed"));
}

TEST(ReadPicture, NeverReadsATruncatedFileAsWhole) {
  for (const char* name :
       {"png_rgba.png", "png_interlaced.png", "jpeg_420.jpg", "webp_lossy.webp", "webp_lossless.webp"}) {
    const std::string whole = GoldenBytes(name);
    for (size_t length = 0; length + 2 < whole.size(); ++length) {
      EXPECT_NE(Refusal(whole.substr(0, length)), "read") << name << " cut to " << length;
    }
  }
}

TEST(ReadPicture, SurvivesAnySingleDamagedByte) {
  for (const char* name : {"png_palette_transparent.png", "png_interlaced.png", "jpeg_444_progressive.jpg",
                           "jpeg_cmyk.jpg", "turned_6.jpg", "webp_alpha.webp", "turned_6.webp"}) {
    const std::string whole = GoldenBytes(name);
    for (size_t i = 0; i < whole.size(); ++i) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ 0x5A);
      EXPECT_FALSE(Refusal(damaged).empty());
    }
  }
}

// A folder that goes away with the test.
class PictureFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / ("pictures_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string PathRefusal(const std::filesystem::path& path) {
    try {
      ReadPicture(path);
      return "read";
    } catch (const Error& error) {
      return error.what();
    }
  }

  std::filesystem::path folder_;
};

TEST_F(PictureFiles, AreReadByContentNotByName) {
  const auto path = folder_ / "webp_in_truth.png";
  std::filesystem::copy_file(GoldenPicture("webp_lossless.webp"), path);
  EXPECT_EQ(ReadPicture(path).rgb, ReadPicture(GoldenPicture("webp_lossless.webp")).rgb);
}

TEST_F(PictureFiles, OfWrongKindsAreRefusedWithoutWaiting) {
  EXPECT_THAT(PathRefusal(folder_), HasSubstr("is a folder, a file is needed"));
  EXPECT_THAT(PathRefusal(folder_ / "missing.png"), HasSubstr("missing.png: no such file or directory"));
  const auto pipe = folder_ / "pipe.png";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(PathRefusal(pipe), HasSubstr("pipe.png: is a pipe or device, a regular file is needed"));
  EXPECT_THAT(PathRefusal("/dev/zero"), HasSubstr("/dev/zero: is a pipe or device"));
  const auto text = folder_ / "text.png";
  std::ofstream(text) << "hello";
  EXPECT_THAT(PathRefusal(text), HasSubstr("text.png: is not a PNG, JPEG or WebP picture"));
  EXPECT_THAT(PathRefusal(folder_ / std::string("a\0b", 3)), HasSubstr("no such file"));
}

}  // namespace
}  // namespace tessera
