#include "text/pattern.h"

#include <random>

#include <gmock/gmock.h>

#include "support/temporary_folder.h"
#include "text/unicode.h"
#include "text/word_scanner.h"

namespace tessera {
namespace {

using testing::ElementsAre;

constexpr const char* kQwen =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<std::string> Pieces(const Pattern& pattern, std::string_view text) {
  std::vector<std::string> pieces;
  for (const Match& match : pattern.Find(text)) pieces.emplace_back(text.substr(match.begin, match.end - match.begin));
  return pieces;
}

TEST(WordPattern, RecognizesTheTwoExpressionsOnly) {
  EXPECT_EQ(DigitsOfWordPattern(kQwen), 1);
  EXPECT_EQ(DigitsOfWordPattern(kLlama), 3);
  EXPECT_EQ(DigitsOfWordPattern(std::string(kQwen) + "+"), std::nullopt);
  EXPECT_EQ(DigitsOfWordPattern(""), std::nullopt);
}

TEST(WordPattern, CutsWordsDigitsSymbolsAndSpace) {
  const auto pattern = MakeWordPattern(1);
  EXPECT_THAT(Pieces(*pattern, "it's 12 o'clock"), ElementsAre("it", "'s", " ", "1", "2", " o", "'clock"));
  EXPECT_THAT(Pieces(*pattern, "a  b\n\n c !?\n"), ElementsAre("a", " ", " b", "\n\n", " c", " !?\n"));
  EXPECT_THAT(Pieces(*MakeWordPattern(3), "1234567"), ElementsAre("123", "456", "7"));
}

// The scanner and the compiled expression are two implementations of one thing.
TEST(WordPattern, FindsWhatTheRegularExpressionFinds) {
  const std::vector<std::string> parts = {"'",          "s",
                                          "T",          "re",
                                          "LL",         "\u017F",
                                          " ",          "  ",
                                          "\n",         "\r",
                                          "\t",         "\u00A0",
                                          "\u3000",     "\u180E",
                                          "a",          "\u00E9",
                                          "\u0301",     "\u72D0",
                                          "1",          "23",
                                          "\u00BD",     "!",
                                          "?!",         "_",
                                          "\U0001F98A", std::string(1, '\0')};
  std::mt19937 random(1);
  for (const auto& [digits, expression] : {std::pair{1, kQwen}, std::pair{3, kLlama}}) {
    // A group around it keeps the expression from being recognized.
    const auto compiled = MakeRegexPattern("(?:" + std::string(expression) + ")", "test");
    const auto scanned = MakeWordPattern(digits);
    for (int round = 0; round < 3000; ++round) {
      std::string text;
      for (uint32_t i = random() % 12; i > 0; --i) text += parts[random() % parts.size()];
      EXPECT_EQ(Pieces(*scanned, text), Pieces(*compiled, text)) << testing::PrintToString(text);
    }
  }
}

TEST(RegexPattern, ClassesAreThoseOfUnicode) {
  EXPECT_THAT(Pieces(*MakeRegexPattern(R"(\w+)", "test"), "a\u0301_1 \u00BD-b"),
              ElementsAre("a\u0301_1", "\u00BD", "b"));
  EXPECT_THAT(Pieces(*MakeRegexPattern(R"([^\s]+)", "test"), "a\u0085b\u180Ec"), ElementsAre("a", "b\u180Ec"));
  EXPECT_THAT(Pieces(*MakeRegexPattern(R"(\S)", "test"), " \u3000x"), ElementsAre("x"));
}

TEST(RegexPattern, AnExpressionThatNeedsExponentialTimeIsStopped) {
  const auto pattern = MakeRegexPattern("(a+)+$", "t.json");
  const std::string text = std::string(5000, 'a') + "!";
  EXPECT_THAT(ErrorOf([&] { pattern->Find(text); }),
              testing::HasSubstr("t.json: the pattern cannot split a text of 5001 bytes: match limit exceeded"));
}

TEST(RegexPattern, DeepRecursionOfTheMatcherIsNoStackOverflow) {
  const auto pattern = MakeRegexPattern("(?:(?:ab)*c?)*d", "t.json");
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "ab";
  const std::string message = ErrorOf([&] { EXPECT_TRUE(pattern->Find(text).empty()); });
  EXPECT_TRUE(message == "no error" || message.starts_with("t.json: the pattern cannot split a text of 400000 bytes"))
      << message;
}

TEST(LiteralPattern, FindsWithoutOverlaps) {
  EXPECT_THAT(Pieces(*MakeLiteralPattern("aa"), "aaaaa"), ElementsAre("aa", "aa"));
  EXPECT_TRUE(MakeLiteralPattern("")->Find("abc").empty());
}

}  // namespace
}  // namespace tessera
