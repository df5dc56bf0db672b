#include "cli/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "cli_flags/sample_table.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

FlagValues Parse(const std::vector<std::string>& words) { return ParseFlags(kSampleTable, words); }

std::string Refusal(const std::vector<std::string>& words) {
  try {
    Parse(words);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

// A config file that goes away with the test.
class ConfigFile {
 public:
  ConfigFile(const std::string& name, const std::string& text)
      : folder_(std::filesystem::path(testing::TempDir()) /
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::create_directories(folder_);
    path_ = (folder_ / name).string();
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~ConfigFile() { std::filesystem::remove_all(folder_); }
  const std::string& path() const { return path_; }

 private:
  std::filesystem::path folder_;
  std::string path_;
};

TEST(Flags, GivesDefaults) {
  const FlagValues values = Parse({});
  EXPECT_EQ(values.Int("seed"), 42);
  EXPECT_EQ(values.GivenBy("seed"), FlagSource::kDefault);
  EXPECT_FALSE(values.Has("height"));
  EXPECT_EQ(values.Int("height", 7), 7);
  EXPECT_EQ(values.Float("guidance-scale", 1.5), 1.5);
  EXPECT_TRUE(values.Bool("save-output"));
  EXPECT_EQ(values.String("dit-precision"), "bf16");
  EXPECT_TRUE(values.Strings("prompt").empty());
  EXPECT_TRUE(values.Table("component-paths").empty());
}

TEST(Flags, AcceptsEverySpelling) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"--model-path", "a/b"},
                                                {"--model_path", "a/b"},
                                                {"--model-path=a/b"},
                                                {"--model=a/b"}}) {
    EXPECT_EQ(Parse(words).String("model-path"), "a/b") << words[0];
    EXPECT_EQ(Parse(words).GivenBy("model-path"), FlagSource::kCommandLine);
  }
}

TEST(Flags, KeepsEqualsSignsAndLeadingDashesOfValues) {
  EXPECT_EQ(Parse({"--negative-prompt=a=b"}).String("negative-prompt"), "a=b");
  EXPECT_EQ(Parse({"--negative-prompt", "-bad"}).String("negative-prompt"), "-bad");
  EXPECT_EQ(Parse({"--negative-prompt=--bad"}).String("negative-prompt"), "--bad");
  EXPECT_EQ(Parse({"--negative-prompt", ""}).String("negative-prompt"), "");
  EXPECT_TRUE(Parse({"--negative-prompt="}).Has("negative-prompt"));
}

TEST(Flags, AcceptsEveryFormOfBool) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--warmup"}, {"--warmup", "True"}, {"--warmup=TRUE"}, {"--warmup", "--seed", "1"}}) {
    EXPECT_TRUE(Parse(words).Bool("warmup")) << words.back();
  }
  for (const std::vector<std::string>& words : {std::vector<std::string>{"--save-output", "False"},
                                                {"--save-output=false"},
                                                {"--no-save-output"},
                                                {"--no_save_output"}}) {
    EXPECT_FALSE(Parse(words).Bool("save-output")) << words.back();
  }
}

TEST(Flags, CollectsLists) {
  EXPECT_THAT(Parse({"--prompt", "a, b", "c", "--seed", "1", "--prompt=d"}).Strings("prompt"),
              ElementsAre("a, b", "c", "d"));
  EXPECT_THAT(Parse({"--dmd_denoising_steps", "1000,757, 522"}).Ints("dmd-denoising-steps"),
              ElementsAre(1000, 757, 522));
  EXPECT_THAT(Parse({"--dmd-denoising-steps", "9", "8", "7"}).Ints("dmd-denoising-steps"), ElementsAre(9, 8, 7));
  EXPECT_THAT(Parse({"--text-encoder-precisions", "FP32,bf16"}).Strings("text-encoder-precisions"),
              ElementsAre("fp32", "bf16"));
}

TEST(Flags, CollectsTables) {
  const FlagValues values = Parse({"--component-paths.vae", "v", "--component_paths.text_encoder=t"});
  EXPECT_THAT(values.Table("component-paths"), ElementsAre(Pair("text_encoder", "t"), Pair("vae", "v")));
}

TEST(Flags, TablesMayBeWrittenAtOnce) {
  const auto table = [](const std::vector<std::string>& words) { return Parse(words).Table("component-paths"); };
  EXPECT_THAT(table({"--component-paths", "vae=v,text_encoder=t"}),
              ElementsAre(Pair("text_encoder", "t"), Pair("vae", "v")));
  EXPECT_THAT(table({"--component-paths", R"({"vae": "v", "a": {"b": "c"}})"}),
              ElementsAre(Pair("a.b", "c"), Pair("vae", "v")));
  EXPECT_THAT(table({"--component-paths=vae=v,w"}), ElementsAre(Pair("vae", "v,w")));
  EXPECT_THAT(table({"--component-paths", "vae=v", "--component-paths.a", "b"}),
              ElementsAre(Pair("a", "b"), Pair("vae", "v")));
}

TEST(Flags, HelpWinsOverMistakes) { EXPECT_TRUE(Parse({"--nope", "--help"}).help_wanted()); }

TEST(Flags, CollectsBareWordsWhereDeclared) {
  constexpr FlagTable kBare{"tessera sample", "draws samples", kSampleGroups, "prompt"};
  const std::vector<std::string> words{"a", "--seed", "3", "b"};
  EXPECT_THAT(ParseFlags(kBare, words).Strings("prompt"), ElementsAre("a", "b"));
}

TEST(Flags, AcceptsTheSameValueTwice) { EXPECT_EQ(Parse({"--seed", "3", "--seed=3"}).Int("seed"), 3); }

struct Mistake {
  std::vector<std::string> words;
  std::string message;
};

class FlagMistakes : public testing::TestWithParam<Mistake> {};

TEST_P(FlagMistakes, AreNamedWithTheirValue) { EXPECT_THAT(Refusal(GetParam().words), HasSubstr(GetParam().message)); }

INSTANTIATE_TEST_SUITE_P(
    All, FlagMistakes,
    testing::Values(
        Mistake{{"--heigth", "3"}, "--heigth: unknown flag of 'tessera sample', did you mean --height"},
        Mistake{{"--guidance", "3"}, "did you mean --guidance-scale"},
        Mistake{{"--HEIGHT", "64"}, "did you mean --height"},
        Mistake{{"--zzzzzzzzzz"}, "--zzzzzzzzzz: unknown flag of 'tessera sample', see --help"},
        Mistake{{"--\xff\xfe", "3"}, "--\\xff\\xfe: unknown flag"},
        Mistake{{"-height", "64"}, "'-height' is not expected here, did you mean --height"},
        Mistake{{"word"}, "'word' is not expected here"}, Mistake{{""}, "'' is not expected here"},
        Mistake{{"--"}, "'--' is not expected here"}, Mistake{{"--=3"}, "--: unknown flag"},
        Mistake{{"--warmup", "maybe"}, "'maybe' is not expected here"},
        Mistake{{"--warmup=maybe"}, "--warmup: 'maybe' is neither true nor false"},
        Mistake{{"--no-warmup=true"}, "--no-warmup: takes no value"},
        Mistake{{"--no-height"}, "--no-height: unknown flag"},
        Mistake{{"--warmup", "--no-warmup"}, "--warmup: given twice with different values, 'true' and 'false'"},
        Mistake{{"--height"}, "--height: a value is missing"},
        Mistake{{"--height", "--seed", "1"}, "--height: a value is missing, '--seed' is a flag"},
        Mistake{{"--height="}, "--height: '' is not a whole number from 16 to 8192"},
        Mistake{{"--height", "12x"}, "--height: '12x' is not a whole number from 16 to 8192"},
        Mistake{{"--height", "64.0"}, "'64.0' is not a whole number"},
        Mistake{{"--height", " 64"}, "' 64' is not a whole number"},
        Mistake{{"--height", "-64"}, "'-64' is not a whole number from 16"},
        Mistake{{"--height", "8193"}, "'8193' is not a whole number from 16 to 8192"},
        Mistake{{"--height", "nan"}, "'nan' is not a whole number"},
        Mistake{{"--seed", "99999999999999999999"}, "'99999999999999999999' is not a whole number of at least 0"},
        Mistake{{"--seed", "-1"}, "--seed: '-1' is not a whole number of at least 0"},
        Mistake{{"--guidance-scale", "nan"}, "'nan' is not a finite number of at least 0"},
        Mistake{{"--guidance-scale", "-inf"}, "'-inf' is not a finite number"},
        Mistake{{"--guidance-scale", "1e999"}, "'1e999' is not a finite number"},
        Mistake{{"--guidance-scale", "-0.5"}, "'-0.5' is not a finite number of at least 0"},
        Mistake{{"--model-path", ""}, "--model-path: '' is empty"},
        Mistake{{"--model-path", "\xc3\x28"}, "--model-path: '\\xc3(' is not valid UTF-8"},
        Mistake{{"--prompt", "ok", "\xff"}, "--prompt: '\\xff' is not valid UTF-8"},
        Mistake{{"--prompt", ""}, "--prompt: '' is empty"},
        Mistake{{"--dit-precision", "bf61"}, "'bf61' is not one of fp32, bf16; did you mean bf16"},
        Mistake{{"--text-encoder-precisions", "fp32,,bf16"}, "--text-encoder-precisions: '' is not one of"},
        Mistake{{"--dmd-denoising-steps", "1,2,"}, "--dmd-denoising-steps: '' is not a whole number from 0 to 1000"},
        Mistake{{"--dmd-denoising-steps", "1,1001"}, "'1001' is not a whole number from 0 to 1000"},
        Mistake{{"--seed", "1", "--seed", "2"}, "--seed: given twice with different values, '1' and '2'"},
        Mistake{{"--model", "a", "--model-path", "b"}, "given twice with different values, 'a' and 'b'"},
        Mistake{{"--component-paths", "x"},
                "--component-paths: 'x' is no KEY=VALUE; --component-paths.KEY VALUE works"},
        Mistake{{"--component-paths", "vae=a,vae=b"}, "--component-paths: 'vae' is given twice"},
        Mistake{{"--component-paths", "vae="}, "'vae=' is no KEY=VALUE"},
        Mistake{{"--component-paths", "{\"vae\": 3}"}, "'3' is not text"},
        Mistake{{"--component-paths.", "x"}, "--component-paths.: a key is missing"},
        Mistake{{"--component-paths.vae", "a", "--component-paths.vae", "b"}, "given twice with different values"},
        Mistake{{"--seed.x", "1"}, "--seed.x: unknown flag"}, Mistake{{"--config"}, "--config: a value is missing"},
        Mistake{{"--config", ""}, "--config: '' is not a file name"},
        Mistake{{"--config", "a.json", "--config", "b.json"}, "--config: given twice"},
        Mistake{{"--config", "/nonexistent/a.json"}, "/nonexistent/a.json: no such file or directory"},
        Mistake{{"--config", "a.toml"}, "--config: 'a.toml' does not end in .json, .yaml or .yml"}));

TEST(FlagConfigFile, FillsWhatTheCommandLineLeavesOpen) {
  const ConfigFile file("run.yaml",
                        "model_path: /models/a\nseed: 7\nheight: 64\nwarmup: True\nprompt: [a cat, 'a dog']\n"
                        "negative-prompt: ''\ncomponent_paths: {vae: v, text_encoder: t}\nguidance-scale: null\n");
  const FlagValues values = Parse({"--seed", "9", "--config", file.path(), "--component-paths.vae=mine"});
  EXPECT_EQ(values.String("model-path"), "/models/a");
  EXPECT_EQ(values.GivenBy("model-path"), FlagSource::kConfigFile);
  EXPECT_EQ(values.Int("seed"), 9);
  EXPECT_EQ(values.GivenBy("seed"), FlagSource::kCommandLine);
  EXPECT_EQ(values.Int("height"), 64);
  EXPECT_TRUE(values.Bool("warmup"));
  EXPECT_THAT(values.Strings("prompt"), ElementsAre("a cat", "a dog"));
  EXPECT_TRUE(values.Has("negative-prompt"));
  EXPECT_FALSE(values.Has("guidance-scale"));
  EXPECT_THAT(values.Table("component-paths"), ElementsAre(Pair("text_encoder", "t"), Pair("vae", "mine")));
}

TEST(FlagConfigFile, CommandLineListsReplaceItsLists) {
  const ConfigFile file("run.json", R"({"prompt": ["a", "b"], "dmd_denoising_steps": [3, 2], "seed": 5})");
  const FlagValues values = Parse({"--config=" + file.path(), "--prompt", "mine"});
  EXPECT_THAT(values.Strings("prompt"), ElementsAre("mine"));
  EXPECT_THAT(values.Ints("dmd-denoising-steps"), ElementsAre(3, 2));
  EXPECT_EQ(values.Int("seed"), 5);
}

struct ConfigMistake {
  std::string name, text, message;
};

class FlagConfigMistakes : public testing::TestWithParam<ConfigMistake> {};

TEST_P(FlagConfigMistakes, NameTheFileAndTheKey) {
  const ConfigFile file(GetParam().name, GetParam().text);
  EXPECT_THAT(Refusal({"--config", file.path(), "--seed", "1"}),
              HasSubstr(GetParam().name + ": " + GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, FlagConfigMistakes,
    testing::Values(
        ConfigMistake{"a.json", R"({"heigth": 64})", "heigth: unknown flag of 'tessera sample', did you mean height"},
        ConfigMistake{"a.json", R"({"height": "tall"})", "height: 'tall' is not a whole number"},
        ConfigMistake{"a.json", R"({"height": 1e3})", "height: '1e3' is not a whole number"},
        ConfigMistake{"a.json", R"({"height": true})", "height: 'true' is not a whole number"},
        ConfigMistake{"a.json", R"({"seed": -5})", "seed: '-5' is not a whole number of at least 0"},
        ConfigMistake{"a.json", R"({"model-path": 5})", "model-path: '5' is not text, put it in quotes"},
        ConfigMistake{"a.json", R"({"model-path": ["a"]})", "model-path: is a list, one value is needed"},
        ConfigMistake{"a.json", R"({"model-path": "a\u0000b"})", "model-path: 'a\\x00b' holds a NUL"},
        ConfigMistake{"a.json", R"({"prompt": []})", "prompt: '' is empty"},
        ConfigMistake{"a.json", R"({"height": 64, "height": 65})", "height is given twice"},
        ConfigMistake{"a.json", R"({"model-path": "a", "model_path": "b"})", "model_path: given twice"},
        ConfigMistake{"a.json", R"({"prompt": {"x": 1}})", "prompt.x: unknown flag"},
        ConfigMistake{"a.json", R"({"config": "b.json"})", "config: unknown flag"},
        ConfigMistake{"a.json", R"({"component-paths": {"vae": {"x": "y"}}})", "component-paths.vae: nested"},
        ConfigMistake{"a.json", "", "not valid JSON"}, ConfigMistake{"a.json", "[]", "list: nested"},
        ConfigMistake{"a.yaml", "height: [64, 65]", "height: is a list"},
        ConfigMistake{"a.yaml", "height: nan", "height: 'nan' is not a whole number"},
        ConfigMistake{"a.yml", "warmup: perhaps", "warmup: 'perhaps' is neither true nor false"}));

TEST(FlagHelpText, ListsEveryFlagOnce) {
  for (const std::string& page : {FlagHelp(kSampleTable), FlagMarkdown(kSampleTable)}) {
    for (const Flag& flag : kSampleFlags) {
      const std::string name = "--" + std::string(flag.name) + (flag.kind == FlagKind::kTable ? "." : " ");
      EXPECT_NE(page.find(name), std::string::npos) << name;
      EXPECT_EQ(page.find(name), page.rfind(name)) << name;
    }
    EXPECT_THAT(page, HasSubstr("16 to 8192"));
    EXPECT_THAT(page, HasSubstr("the model's own"));
  }
}

}  // namespace
}  // namespace tessera
