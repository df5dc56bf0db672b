#include "cli/flag_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/error.h"

namespace tessera {
namespace {

using testing::HasSubstr;

std::string Refusal(const std::string& text, ConfigSyntax syntax) {
  try {
    ParseFlagConfig(text, syntax, "run");
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

std::string Repeat(const std::string& text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

TEST(FlagConfig, BothSyntaxesGiveTheSameEntries) {
  const auto json =
      ParseFlagConfig(R"({"a": "x", "b": [1, 2], "c": {"d": "y"}, "e": null})", ConfigSyntax::kJson, "run");
  const auto yaml = ParseFlagConfig("a: x\nb: [1, 2]\nc:\n  d: y\ne:\n", ConfigSyntax::kYaml, "run");
  ASSERT_EQ(json.size(), 3u);
  ASSERT_EQ(yaml.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(json[i].name, yaml[i].name);
    EXPECT_EQ(json[i].is_list, yaml[i].is_list);
    ASSERT_EQ(json[i].values.size(), yaml[i].values.size());
    for (size_t j = 0; j < json[i].values.size(); ++j) EXPECT_EQ(json[i].values[j].text, yaml[i].values[j].text);
  }
  EXPECT_EQ(json[2].name, "c.d");
}

TEST(FlagConfig, TellsQuotedWordsFromPlainOnes) {
  const auto entries = ParseFlagConfig("a: '5'\nb: 5\n", ConfigSyntax::kYaml, "run");
  EXPECT_EQ(entries[0].values[0].kind, ScalarKind::kText);
  EXPECT_EQ(entries[1].values[0].kind, ScalarKind::kUntyped);
}

TEST(FlagConfig, AnEmptyYamlFileHasNoEntries) {
  EXPECT_TRUE(ParseFlagConfig("", ConfigSyntax::kYaml, "run").empty());
  EXPECT_TRUE(ParseFlagConfig("# nothing\n", ConfigSyntax::kYaml, "run").empty());
}

TEST(FlagConfig, RefusesAliasBombs) {
  const std::string bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
  EXPECT_THAT(Refusal(bomb, ConfigSyntax::kYaml), HasSubstr("run: line 1: anchors and aliases are not accepted"));
  EXPECT_THAT(Refusal("a: 1\nb: *a\n", ConfigSyntax::kYaml), HasSubstr("run: line 2: "));
}

TEST(FlagConfig, RefusesDeepNestingWithoutRecursion) {
  EXPECT_THAT(Refusal(Repeat("[", 200000), ConfigSyntax::kJson), HasSubstr("nested too deeply"));
  EXPECT_THAT(Refusal("{\"a\":" + Repeat("{\"a\":", 200000), ConfigSyntax::kJson), HasSubstr("nested too deeply"));
  EXPECT_THAT(Refusal(Repeat("[", 20000), ConfigSyntax::kYaml), HasSubstr("run: "));
  EXPECT_THAT(Refusal("a: " + Repeat("{a: ", 5000), ConfigSyntax::kYaml), HasSubstr("run: "));
}

TEST(FlagConfig, RefusesBrokenFiles) {
  EXPECT_THAT(Refusal("{\"a\": 1", ConfigSyntax::kJson), HasSubstr("not valid JSON: parse error at line 1"));
  EXPECT_THAT(Refusal("{\"a\": 1} x", ConfigSyntax::kJson), HasSubstr("not valid JSON"));
  EXPECT_THAT(Refusal("\"a\"", ConfigSyntax::kJson), HasSubstr("an object of flag names and values is needed"));
  EXPECT_THAT(Refusal("a: 'x", ConfigSyntax::kYaml), HasSubstr("not valid YAML"));
  EXPECT_THAT(Refusal("just words", ConfigSyntax::kYaml), HasSubstr("an object of flag names"));
  EXPECT_THAT(Refusal("a: 1\n---\nb: 2\n", ConfigSyntax::kYaml), HasSubstr("a second document starts"));
  EXPECT_THAT(Refusal("a: \xff\n", ConfigSyntax::kYaml), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(Refusal("? [a, b]\n: 1\n", ConfigSyntax::kYaml), HasSubstr("run: "));
  EXPECT_THAT(Refusal("a: {b: [1]}", ConfigSyntax::kYaml), HasSubstr("a.b: nested too deeply"));
  EXPECT_THAT(Refusal("a: [[1]]", ConfigSyntax::kYaml), HasSubstr("nested too deeply"));
  EXPECT_THAT(Refusal("{\"\": 1}", ConfigSyntax::kJson), HasSubstr("'' is no name"));
}

TEST(FlagConfig, NeverWaitsForAPipeOrReadsADevice) {
  const std::string pipe = testing::TempDir() + "flag_config_pipe.json";
  std::filesystem::remove(pipe);
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THROW(ReadFlagConfig(pipe), Error);
  std::filesystem::remove(pipe);
  const std::string folder = testing::TempDir() + "flag_config_folder.yaml";
  std::filesystem::create_directories(folder);
  EXPECT_THROW(ReadFlagConfig(folder), Error);
  std::filesystem::remove(folder);
}

}  // namespace
}  // namespace tessera
