#include "media/exif.h"

#include <gtest/gtest.h>

#include "media/unicode.h"

namespace tessera {
namespace {

using Text = std::map<std::string, std::string>;

// A little-endian block with one entry in its first folder.
std::string OneEntry(const std::string& entry, const std::string& behind = "") {
  return std::string("II\x2A\0\x08\0\0\0\x01\0", 10) + entry + std::string(4, '\0') + behind;
}

TEST(Exif, TextComesBack) {
  for (const Text& text : {Text{{"parameters", "a cat"}}, Text{{"tessera", "{}"}}, Text{{"a", ""}},
                           Text{{"parameters", "\xE7\x8C\xAB"}, {"tessera", "\xE7\x8C\xAB \"q\""}, {"z", "1"}}}) {
    EXPECT_EQ(ExifText(MakeExif(text)), text);
  }
  EXPECT_EQ(MakeExif({}), "");
}

TEST(Exif, CommentIsWhereOtherProgramsLookForIt) {
  const std::string block = MakeExif({{"parameters", "cat"}});
  EXPECT_NE(block.find(std::string("UNICODE\0\0c\0a\0t", 14)), std::string::npos);
}

TEST(Exif, ReadsLittleEndianOrientation) {
  EXPECT_EQ(ExifOrientation(OneEntry(std::string("\x12\x01\x03\0\x01\0\0\0\x06\0\0\0", 12))), 6);
  EXPECT_EQ(ExifOrientation(OneEntry(std::string("\x12\x01\x03\0\x01\0\0\0\x09\0\0\0", 12))), 1);
  EXPECT_EQ(ExifOrientation(""), 1);
}

TEST(Exif, ReadsDescriptionsOfOtherPrograms) {
  const std::string entry("\x0E\x01\x02\0\x06\0\0\0\x1A\0\0\0", 12);
  EXPECT_EQ(ExifText(OneEntry(entry, std::string("a cat\0", 6))), (Text{{"description", "a cat"}}));
  EXPECT_EQ(ExifText(OneEntry(entry, std::string("caf\xE9\0\0", 6))), (Text{{"description", "caf\xC3\xA9"}}));
}

TEST(Exif, SurvivesAnyCutAndAnyDamagedByte) {
  const std::string whole = MakeExif({{"parameters", "a cat, 4 steps"}, {"tessera", "{\"prompt\":\"a cat\"}"}});
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_LE(ExifText(whole.substr(0, i)).size(), 2u);
    for (const int flip : {0x01, 0x5A, 0xFF}) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      ExifText(damaged);
      EXPECT_GE(ExifOrientation(damaged), 1);
    }
  }
}

TEST(Exif, ReadsTheOrientationOfXmp) {
  EXPECT_EQ(XmpOrientation("<x tiff:Orientation=\"6\"/>"), 6);
  EXPECT_EQ(XmpOrientation("<tiff:Orientation>3</tiff:Orientation>"), 3);
  EXPECT_EQ(XmpOrientation("<x tiff:Orientation=\"9\"/>"), 1);
  EXPECT_EQ(XmpOrientation("tiff:Orientation"), 1);
  EXPECT_EQ(XmpOrientation("tiff:Orientation=\""), 1);
  EXPECT_EQ(XmpOrientation(""), 1);
}

}  // namespace
}  // namespace tessera
