#include "text/unicode.h"

#include <gmock/gmock.h>

namespace tessera {
namespace {

TEST(Unicode, ReplacesEachMaximalPrefixOfASequence) {
  const std::string mark = "\xEF\xBF\xBD";
  EXPECT_EQ(ReplaceInvalidUtf8("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\xA6\x8A"), "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\xA6\x8A");
  EXPECT_EQ(ReplaceInvalidUtf8("\xC0\x80"), mark + mark);                        // overlong
  EXPECT_EQ(ReplaceInvalidUtf8("\xE0\x80\x80"), mark + mark + mark);             // overlong
  EXPECT_EQ(ReplaceInvalidUtf8("\xED\xA0\x80"), mark + mark + mark);             // surrogate
  EXPECT_EQ(ReplaceInvalidUtf8("\xF4\x90\x80\x80"), mark + mark + mark + mark);  // beyond U+10FFFF
  EXPECT_EQ(ReplaceInvalidUtf8("\xF0\x9F\xA6"
                               "a"),
            mark + "a");  // cut short: one for the whole prefix
  EXPECT_EQ(ReplaceInvalidUtf8("\xE2\x82"), mark);
  EXPECT_EQ(ReplaceInvalidUtf8(std::string("\0\x01", 2)), std::string("\0\x01", 2));
}

TEST(Unicode, NormalFormsMatchTheStandardsExamples) {
  const auto all = [](const char* text) {
    return std::vector<std::string>{Normalize(text, NormalForm::kNfc), Normalize(text, NormalForm::kNfd),
                                    Normalize(text, NormalForm::kNfkc), Normalize(text, NormalForm::kNfkd)};
  };
  using testing::ElementsAre;
  // UAX 15, figures 5 and 6 and the conformance test's Hangul, with angstrom sign and s with two dots.
  EXPECT_THAT(all("\u212B"), ElementsAre("\u00C5", "A\u030A", "\u00C5", "A\u030A"));
  EXPECT_THAT(all("\u1E9B\u0323"), ElementsAre("\u1E9B\u0323", "\u017F\u0323\u0307", "\u1E69", "s\u0323\u0307"));
  EXPECT_THAT(all("\uFB01"), ElementsAre("\uFB01", "\uFB01", "fi", "fi"));
  EXPECT_THAT(all("\uAC01"), ElementsAre("\uAC01", "\u1100\u1161\u11A8", "\uAC01", "\u1100\u1161\u11A8"));
  EXPECT_THAT(all("\u0958"), ElementsAre("\u0915\u093C", "\u0915\u093C", "\u0915\u093C", "\u0915\u093C"));
}

TEST(Unicode, ManyMarksAreSortedAndKept) {
  std::string marks = "a", cedillas, acutes;
  for (int i = 0; i < 100'000; ++i) {
    marks += "\u0301\u0327";
    acutes += "\u0301";
    cedillas += "\u0327";
  }
  EXPECT_EQ(Normalize(marks, NormalForm::kNfd), "a" + cedillas + acutes);
}

TEST(Unicode, KnowsTheClassesPatternsUse) {
  for (const char32_t space :
       {0x9, 0xA, 0xB, 0xC, 0xD, 0x20, 0x85, 0xA0, 0x1680, 0x2000, 0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}) {
    EXPECT_TRUE(IsWhiteSpace(space)) << static_cast<uint32_t>(space);
  }
  for (const char32_t other : {0x1C, 0x180E, 0x200B, 0x200D, 0x2060, 0xFEFF}) {
    EXPECT_FALSE(IsWhiteSpace(other)) << static_cast<uint32_t>(other);
  }
  EXPECT_TRUE(IsLetter(U'\u00E9') && IsLetter(U'\u72D0') && IsLetter(U'\u02B0') && !IsLetter(U'\u0301') &&
              !IsLetter(U'1'));
  EXPECT_TRUE(IsNumber(U'1') && IsNumber(U'\u2167') && IsNumber(U'\u00BD') && !IsNumber(U'a'));
  EXPECT_TRUE(IsWord(U'_') && IsWord(U'\u0301') && IsWord(U'\u24D0') && !IsWord(U'-') && !IsWord(U'\u00BD'));
}

TEST(Unicode, LowersEachCodePoint) { EXPECT_EQ(LowerUnicode("\u00C9A\u03A3\u0130"), "\u00E9a\u03C3i\u0307"); }

}  // namespace
}  // namespace tessera
