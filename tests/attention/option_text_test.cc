#include "attention/option_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

const OptionValue& At(const Options& options, std::string_view key) {
  const OptionValue* value = options.Find(key);
  EXPECT_NE(value, nullptr) << key;
  static const OptionValue kNone = false;
  return value == nullptr ? kNone : *value;
}

TEST(OptionText, PairsAreTyped) {
  const Options options = ParseOptions(
      R"(on=True, count=-3,share=1e-2,word=topk, quoted="a, b",number="7",list=[1, [2, 3.5]],path=/a b/c.json#x)",
      "--f");
  EXPECT_EQ(At(options, "on"), OptionValue(true));
  EXPECT_EQ(At(options, "count"), OptionValue(int64_t{-3}));
  EXPECT_EQ(At(options, "share"), OptionValue(0.01));
  EXPECT_EQ(At(options, "word"), OptionValue(std::string("topk")));
  EXPECT_EQ(At(options, "quoted"), OptionValue(std::string("a, b")));
  EXPECT_EQ(At(options, "number"), OptionValue(std::string("7")));
  EXPECT_EQ(At(options, "list"), OptionValue(std::vector<double>{1, 2, 3.5}));
  EXPECT_EQ(At(options, "path"), OptionValue(std::string("/a b/c.json#x")));
}

TEST(OptionText, JsonYamlAndPairsMeanTheSame) {
  const TemporaryFolder folder;
  const Options json = ParseOptions(R"({"a": 1, "group": {"b": [1, 2], "c": "x"}, "d": true})", "--f");
  EXPECT_EQ(ParseOptions("a=1,group={b: [1, 2], c: x},d=true", "--f"), json);
  EXPECT_EQ(ParseOptions(folder.Write("o.yaml", "a: 1\ngroup:\n  b: [1, 2]\n  c: x\nd: true\n").string(), "--f"), json);
  EXPECT_EQ(ParseOptions(folder.Write("o.json", R"({"a":1,"group":{"b":[1,2],"c":"x"},"d":true})").string(), "--f"),
            json);
  EXPECT_EQ(At(json, "group.b"), OptionValue(std::vector<double>{1, 2}));
}

TEST(OptionText, MistakesAreNamed) {
  const auto error = [](const std::string& text) { return ErrorOf([&] { ParseOptions(text, "--flag"); }); };
  EXPECT_EQ(error("sparsity"), "--flag: 'sparsity' is no key=value; JSON and .json, .yaml files work too");
  EXPECT_THAT(error("=1"), HasSubstr("is no key=value"));
  EXPECT_THAT(error("a=1,a=2"), HasSubstr("option 'a' is given twice"));
  EXPECT_THAT(error("a=[1,x]"), HasSubstr("option 'a' has \"x\" in its list; numbers work"));
  EXPECT_THAT(error("a="), HasSubstr("option 'a' has no value"));
  EXPECT_THAT(error("a=[1"), HasSubstr("--flag: 'a=[1' has a bracket or a quote that is not closed"));
  EXPECT_THAT(error("{\"a\": 1"), HasSubstr("--flag: not valid JSON"));
  EXPECT_THAT(error("missing.json"), HasSubstr("--flag: "));
  EXPECT_THAT(error("a=\xff"), HasSubstr("not valid UTF-8"));
}

}  // namespace
}  // namespace tessera
