#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "media/golden_pictures.h"
#include "media/picture.h"

namespace tessera {
namespace {

using testing::HasSubstr;

constexpr PictureFormat kFormats[] = {PictureFormat::kPng, PictureFormat::kJpeg, PictureFormat::kWebp};

Picture Source() { return ReadPicture(GoldenPicture("source.png")); }

std::string Bytes(const Picture& picture, const PictureEncoding& encoding) {
  const std::vector<uint8_t> bytes = EncodePicture(picture, encoding);
  return {bytes.begin(), bytes.end()};
}

double MeanDifference(const Picture& a, const Picture& b) {
  double sum = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) sum += std::abs(a.rgb[i] - b.rgb[i]);
  return sum / static_cast<double>(a.rgb.size());
}

TEST(EncodePicture, LosslessFormatsGiveThePictureBack) {
  const Picture source = Source();
  EXPECT_EQ(DecodePicture(Bytes(source, {.format = PictureFormat::kPng}), "").rgb, source.rgb);
  EXPECT_EQ(DecodePicture(Bytes(source, {.format = PictureFormat::kWebp, .quality = 100}), "").rgb, source.rgb);
}

TEST(EncodePicture, LossyFormatsStayCloseAndFollowTheQuality) {
  const Picture source = Source();
  for (const PictureFormat format : {PictureFormat::kJpeg, PictureFormat::kWebp}) {
    const std::string fine = Bytes(source, {.format = format, .quality = 95});
    const std::string coarse = Bytes(source, {.format = format, .quality = 20});
    EXPECT_LT(coarse.size(), fine.size());
    const Picture read = DecodePicture(fine, "");
    ASSERT_EQ(read.height, source.height);
    ASSERT_EQ(read.width, source.width);
    EXPECT_LT(MeanDifference(read, source), MeanDifference(DecodePicture(coarse, ""), source));
  }
  EXPECT_LT(MeanDifference(DecodePicture(Bytes(source, {.format = PictureFormat::kJpeg}), ""), source), 5);
}

TEST(EncodePicture, IsDeterministic) {
  const Picture source = Source();
  for (const PictureFormat format : kFormats) {
    const PictureEncoding encoding{.format = format, .text = {{"parameters", "a cat"}, {"tessera", "{}"}}};
    EXPECT_EQ(EncodePicture(source, encoding), EncodePicture(source, encoding));
  }
}

TEST(EncodePicture, TextComesBackFromEveryFormat) {
  const std::map<std::string, std::string> text{
      {"parameters",
       "a \xC3\xBC"
       "ber cat, \xE7\x8C\xAB \xF0\x9F\x90\x88\nSteps: 4, Seed: 42"},
      {"tessera", "{\"prompt\":\"line\\nbreak \xE7\x8C\xAB\",\"x\":\"\x01\"}"},
      {"latin", "caf\xC3\xA9\nline"},
      {"empty", ""}};
  for (const PictureFormat format : kFormats) {
    const std::string bytes = Bytes(Source(), {.format = format, .text = text});
    EXPECT_EQ(DecodePictureText(bytes, ""), text) << Extension(format);
    EXPECT_EQ(DecodePicture(bytes, "").height, 37);
  }
}

TEST(EncodePicture, PngTextIsPlainWhereLatin1Suffices) {
  const std::string plain = Bytes(Source(), {.text = {{"parameters", "caf\xC3\xA9"}}});
  EXPECT_THAT(plain, HasSubstr(std::string("tEXtparameters\0caf\xE9", 19)));
  const std::string international = Bytes(Source(), {.text = {{"parameters", "\xE7\x8C\xAB"}}});
  EXPECT_THAT(international, HasSubstr(std::string("iTXtparameters\0\0\0\0\0\xE7\x8C\xAB", 22)));
}

TEST(EncodePicture, WithoutTextThereIsNone) {
  for (const PictureFormat format : kFormats) {
    EXPECT_TRUE(DecodePictureText(Bytes(Source(), {.format = format}), "").empty());
  }
}

TEST(EncodePicture, RefusesWhatTheFormatCannotHold) {
  const auto refusal = [](const Picture& picture, const PictureEncoding& encoding) -> std::string {
    try {
      EncodePicture(picture, encoding);
      return "written";
    } catch (const Error& error) {
      return error.what();
    }
  };
  const Picture wide{1, 70000, std::vector<uint8_t>(70000 * 3)};
  EXPECT_THAT(refusal(wide, {.format = PictureFormat::kJpeg}), HasSubstr("70000 x 1 pixels cannot be written as JPEG"));
  EXPECT_THAT(refusal(wide, {.format = PictureFormat::kWebp}), HasSubstr("a WebP cannot hold 70000 x 1 pixels"));
  EXPECT_EQ(refusal(wide, {.format = PictureFormat::kPng}), "written");
  const PictureEncoding much{.format = PictureFormat::kJpeg, .text = {{"parameters", std::string(40000, 'x')}}};
  EXPECT_THAT(refusal(Source(), much), HasSubstr("a JPEG cannot hold 78.1"));
  EXPECT_THAT(refusal(Source(), {.text = {{"a b", "x"}}}), HasSubstr("under the key 'a b'"));
  EXPECT_THAT(refusal(Source(), {.text = {{"", "x"}}}), HasSubstr("under the key ''"));
  EXPECT_THAT(refusal(Source(), {.text = {{"a", "\xFF"}}}), HasSubstr("valid UTF-8 without NUL is needed"));
}

TEST(PictureFormats, AreFoundByExtensionInAnyCase) {
  EXPECT_EQ(PictureFormatOf("PNG"), PictureFormat::kPng);
  EXPECT_EQ(PictureFormatOf("jpg"), PictureFormat::kJpeg);
  EXPECT_EQ(PictureFormatOf("JPEG"), PictureFormat::kJpeg);
  EXPECT_EQ(PictureFormatOf("WebP"), PictureFormat::kWebp);
  EXPECT_FALSE(PictureFormatOf("gif"));
  EXPECT_FALSE(PictureFormatOf(""));
  for (const PictureFormat format : kFormats) EXPECT_EQ(PictureFormatOf(Extension(format)), format);
}

}  // namespace
}  // namespace tessera
