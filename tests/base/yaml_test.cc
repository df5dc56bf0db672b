#include "base/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

TEST(Yaml, GivesTheTreeOfTheSameJson) {
  const char* json = R"([{"a": 1, "b": [1.5, true, null, "x", []], "c": {"d": {}}}, "3"])";
  EXPECT_EQ(ParseYaml(json, "f"), ParseJson(json, "f"));
  EXPECT_EQ(ParseYaml("- a: 1\n  b: [1.5, True, ~, x, []]\n  c:\n    d: {}\n- \"3\"\n", "f"), ParseJson(json, "f"));
}

TEST(Yaml, MistakesNameTheLine) {
  const auto error = [](const std::string& text) { return ErrorOf([&] { ParseYaml(text, "f"); }); };
  EXPECT_THAT(error("a: 1\nb: [1"), HasSubstr("f: line "));
  EXPECT_THAT(error("a: 1\na: 2"), HasSubstr("f: line 2: key 'a' is there twice"));
  EXPECT_THAT(error("a: &x 1\nb: *x"), HasSubstr("anchors and aliases are not accepted"));
  EXPECT_THAT(error("a: 1\n---\nb: 2"), HasSubstr("a second document"));
  EXPECT_THAT(error("? [a]\n: b"), HasSubstr("a key is a list or an object"));
  EXPECT_THAT(error(std::string(40, '[') + std::string(40, ']')), HasSubstr("nested deeper than 16 levels"));
  EXPECT_THAT(error("\xff\xfe"), HasSubstr("not valid UTF-8"));
}

}  // namespace
}  // namespace tessera
