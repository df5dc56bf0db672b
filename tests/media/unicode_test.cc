#include "media/unicode.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

const std::string kMixed = "a\xC3\xA9\xE7\x8C\xAB\xF0\x9F\x90\x88";

TEST(Unicode, Utf16ComesBack) {
  const std::string utf16 = Utf8ToUtf16BigEndian(kMixed);
  EXPECT_EQ(utf16, std::string("\0a\0\xE9\x73\x2B\xD8\x3D\xDC\x08", 10));
  EXPECT_EQ(Utf16ToUtf8(utf16, ByteOrder::kBig), kMixed);
}

TEST(Unicode, LoneSurrogatesAreReplaced) {
  EXPECT_EQ(Utf16ToUtf8(std::string("\xD8\x3D\0a", 4), ByteOrder::kBig),
            "\xEF\xBF\xBD"
            "a");
  EXPECT_EQ(Utf16ToUtf8(std::string("\x3D\xD8", 2), ByteOrder::kLittle), "\xEF\xBF\xBD");
  EXPECT_EQ(Utf16ToUtf8(std::string("\0a\0", 3), ByteOrder::kBig), "a");
}

TEST(Unicode, Latin1TakesWhatPngAllows) {
  EXPECT_EQ(Utf8ToLatin1("caf\xC3\xA9\n"), "caf\xE9\n");
  EXPECT_FALSE(Utf8ToLatin1("\xE7\x8C\xAB"));
  EXPECT_FALSE(Utf8ToLatin1("\t"));
  EXPECT_FALSE(Utf8ToLatin1("\xC2\x85"));
  EXPECT_EQ(Latin1ToUtf8("caf\xE9"), "caf\xC3\xA9");
}

}  // namespace
}  // namespace tessera
