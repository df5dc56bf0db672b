#include "base/config.h"

#include <sys/stat.h>

#include <gmock/gmock.h>

#include "base/json.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

class ConfigTest : public testing::Test {
 protected:
  Config Read(std::string_view text) { return Config::FromFile(folder_.Write("config.json", text)); }
  std::string Refusal(std::string_view text) {
    return ErrorOf([&] { Read(text); });
  }
  TemporaryFolder folder_;
};

TEST_F(ConfigTest, ReadsTypedValues) {
  const Config config = Read(R"({"i": 7, "whole": 4.0, "f": 0.5, "n": 3, "b": true, "s": "text", "l": [1, 2]})");
  EXPECT_EQ(config.Int("i", 0), 7);
  EXPECT_EQ(config.Int("whole", 0), 4);
  EXPECT_EQ(config.Float("f", 0), 0.5);
  EXPECT_EQ(config.Float("n", 0), 3.0);
  EXPECT_TRUE(config.Bool("b", false));
  EXPECT_EQ(config.String("s", ""), "text");
  EXPECT_THAT(config.Ints("l", {}), ElementsAre(1, 2));
}

TEST_F(ConfigTest, AbsentAndNullGiveTheFallback) {
  const Config config = Read(R"({"x": null})");
  for (const char* key : {"x", "y"}) {
    EXPECT_FALSE(config.Has(key));
    EXPECT_EQ(config.Int(key, 5), 5);
    EXPECT_EQ(config.Float(key, 2.5), 2.5);
    EXPECT_TRUE(config.Bool(key, true));
    EXPECT_EQ(config.String(key, "z"), "z");
    EXPECT_THAT(config.Ints(key, {3}), ElementsAre(3));
    EXPECT_FALSE(config.Object(key).Has("anything"));
  }
}

TEST_F(ConfigTest, AWrongTypeNamesFileKeyAndValue) {
  const Config config =
      Read(R"({"a": "x", "b": [1], "c": 1, "d": {"e": -1.5}, "f": [1, "z"], "g": 18446744073709551615})");
  const auto ends = [&](const std::string& message, const std::string& rest) {
    EXPECT_THAT(message, EndsWith("config.json" + rest));
  };
  ends(ErrorOf([&] { config.Int("a", 0, 1, 9); }), ": 'a' must be an integer from 1 to 9, found \"x\"");
  ends(ErrorOf([&] { config.Float("b", 0); }), ": 'b' must be a number, found an array of 1");
  ends(ErrorOf([&] { config.Bool("c", false); }), ": 'c' must be true or false, found 1");
  ends(ErrorOf([&] { config.String("c", ""); }), ": 'c' must be a string, found 1");
  ends(ErrorOf([&] { config.Ints("f", {}); }), ": 'f[1]' must be an integer, found \"z\"");
  ends(ErrorOf([&] { config.Object("a"); }), ": 'a' must be an object, found \"x\"");
  ends(ErrorOf([&] { config.Object("d").Int("e", 0); }),
       " (d): 'e' must be an integer from 0 to 2147483648, found -1.5");
  ends(ErrorOf([&] { config.Int("g", 0); }),
       ": 'g' must be an integer from 0 to 2147483648, found 18446744073709551615");
}

TEST_F(ConfigTest, AnIntegerOutOfRangeIsRefused) {
  const Config config = Read(R"({"a": 10, "b": -1, "c": 1e300})");
  EXPECT_EQ(config.Int("a", 0, 0, 10), 10);
  EXPECT_THAT(ErrorOf([&] { config.Int("a", 0, 0, 9); }), HasSubstr("from 0 to 9, found 10"));
  EXPECT_THAT(ErrorOf([&] { config.Int("b", 0); }), HasSubstr("found -1"));
  EXPECT_THAT(ErrorOf([&] { config.Int("c", 0); }), HasSubstr("found 1e+300"));
}

TEST_F(ConfigTest, SyntaxErrorsNameThePlace) {
  EXPECT_THAT(Refusal("{\n \"a\": 1,\n \"b\" 2}"),
              HasSubstr("config.json: not valid JSON at line 3, column 6: unexpected"));
  EXPECT_THAT(Refusal(""), HasSubstr("unexpected end of input"));
  EXPECT_THAT(Refusal("{\"a\": 1} x"), HasSubstr("not valid JSON"));
  EXPECT_THAT(Refusal("{\"a\": NaN}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(Refusal("{\"a\": 1e999}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(Refusal("{\"a\": \"\xff\"}"), HasSubstr("invalid string: ill-formed UTF-8"));
  EXPECT_THAT(Refusal("[1]"), HasSubstr("expected a JSON object, found an array of 1"));
}

TEST_F(ConfigTest, KeysGivenTwiceAreRefused) {
  EXPECT_THAT(Refusal(R"({"a": {"b": 1, "c": 2, "b": 3}})"), HasSubstr("key 'b' is there twice in one object"));
  EXPECT_EQ(Refusal(R"({"a": {"b": 1}, "c": {"b": 1}})"), "no error");
}

TEST_F(ConfigTest, DeepNestingIsRefusedWithoutOverflowingTheStack) {
  const auto nested = [](size_t depth) {
    return "{\"a\": " + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
  };
  EXPECT_EQ(Refusal(nested(kMostJsonDepth)), "no error");
  EXPECT_THAT(Refusal(nested(kMostJsonDepth + 1)), HasSubstr("nested deeper than 64 levels"));
  EXPECT_THAT(Refusal(nested(20'000'000)), HasSubstr("nested deeper than 64 levels"));
}

TEST_F(ConfigTest, FilesThatAreTooLargeOrNoFilesAreRefused) {
  const auto huge = folder_.Write("huge.json", "{}");
  std::filesystem::resize_file(huge, kMostJsonBytes + 1);
  EXPECT_THAT(ErrorOf([&] { Config::FromFile(huge); }), HasSubstr("huge.json: too large, at most 95.37 MiB are read"));
  EXPECT_THAT(ErrorOf([&] { Config::FromFile(folder_.path()); }), HasSubstr("is a folder"));
  EXPECT_THAT(ErrorOf([&] { Config::FromFile(folder_.path() / "none.json"); }), HasSubstr("none.json: no such file"));
  ASSERT_EQ(::mkfifo((folder_.path() / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(ErrorOf([&] { Config::FromFile(folder_.path() / "pipe"); }), HasSubstr("is a pipe or device"));
}

TEST_F(ConfigTest, NamesWithControlCharactersStayOnOneLine) {
  EXPECT_THAT(Refusal("{\"a\\nb\": 1, \"a\\nb\": 2}"), HasSubstr("key 'a\\x0ab' is there twice"));
  EXPECT_THAT(ErrorOf([&] { Config::FromFile(folder_.path() / "no\n\xff.json"); }), HasSubstr("no\\x0a\\xff.json"));
}

}  // namespace
}  // namespace tessera
