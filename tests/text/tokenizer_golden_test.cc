// Ids as the `tokenizers` library makes them of the same files.
#include <filesystem>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/read_file.h"
#include "support/temporary_folder.h"
#include "text/chat_template.h"
#include "text/json_tokenizer.h"
#include "text/tokenizer.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = TESSERA_SOURCE_FOLDER "/tests/golden";

nlohmann::json Read(const fs::path& path) { return ParseJson(ReadWholeFile(path, kMostJsonBytes), path.string()); }

void ExpectIds(const Tokenizer& tokenizer, const nlohmann::json& cases, const std::string& name) {
  ASSERT_FALSE(cases.empty()) << name;
  for (const auto& example : cases) {
    const std::string text = example.at("text");
    EXPECT_EQ(tokenizer.Encode(text), example.at("ids").get<std::vector<int32_t>>())
        << name << ": " << example.at("text");
    EXPECT_EQ(tokenizer.Encode(text, SpecialTokens::kLeaveOut),
              example.at("ids_without_special").get<std::vector<int32_t>>())
        << name << ": " << example.at("text");
  }
}

class TokenizerGolden : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, GivesTheOriginalsIds) {
  const fs::path folder = kGolden / "tokenizers" / GetParam();
  ExpectIds(*LoadTokenizer(folder), Read(folder / "cases.json"), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Files, TokenizerGolden,
                         testing::Values("qwen2", "umt5", "t5", "mistral", "mistral_llama_pattern", "llama3", "gemma",
                                         "clip", "added_token_flags"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST(TokenizerParts, EachGivesTheOriginalsIds) {
  const nlohmann::json parts = Read(kGolden / "tokenizers/parts.json");
  ASSERT_GT(parts.size(), 60u);
  for (const auto& part : parts) {
    const std::string name = part.at("name");
    ExpectIds(*MakeJsonTokenizer(part.at("tokenizer"), name), part.at("cases"), name);
  }
}

TEST(KleinPrompts, HaveTheOriginalsTextIdsAndPadding) {
  const fs::path folder = kGolden / "pipelines/flux2_klein_tiny";
  const auto tokenizer = LoadTokenizer(folder / "tokenizer");
  const int32_t padding = PaddingId(folder / "tokenizer", *tokenizer);
  const SafetensorsFile golden(folder / "io.safetensors");
  const nlohmann::json cases = Read(folder / "cases.json").at("cases");
  ASSERT_EQ(cases.size(), 4u);
  for (const auto& [name, example] : cases.items()) {
    const std::string text = Qwen3ChatWithoutThinking(example.at("prompt").get<std::string>());
    EXPECT_EQ(text, example.at("chat_text").get<std::string>());
    const Tensor ids = golden.Get(name + ".input_ids"), mask = golden.Get(name + ".attention_mask");
    const PromptTokens tokens = PadRight(tokenizer->Encode(text), ids.dim(1), padding);
    for (int64_t i = 0; i < ids.dim(1); ++i) {
      EXPECT_EQ(tokens.input_ids[static_cast<size_t>(i)], ids.data<int64_t>()[i]) << name << " " << i;
      EXPECT_EQ(i < tokens.valid, mask.data<int64_t>()[i] == 1) << name << " " << i;
    }
  }
}

// The same tokenizer as vocab.json and merges.txt.
TEST(SplitFiles, GiveTheIdsOfTheWholeFile) {
  const fs::path whole = kGolden / "pipelines/z_image_tiny/tokenizer";
  const TemporaryFolder split;
  for (const char* name : {"vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"}) {
    fs::copy_file(whole / name, split.path() / name);
  }
  const auto from_whole = LoadTokenizer(whole), from_split = LoadTokenizer(split.path());
  EXPECT_EQ(from_split->vocabulary_size(), from_whole->vocabulary_size());
  EXPECT_EQ(PaddingId(split.path(), *from_split), PaddingId(whole, *from_whole));
  for (const auto& example : Read(kGolden / "tokenizers/qwen2/cases.json")) {
    const std::string text = example.at("text");
    EXPECT_EQ(from_split->Encode(text), from_whole->Encode(text)) << text;
  }
}

TEST(SplitFiles, GiveTheIdsOfPipelines) {
  const nlohmann::json golden = Read(kGolden / "tokenizers/split_files.json");
  for (const auto& [folder, cases] : golden.items()) {
    const auto tokenizer = LoadTokenizer(kGolden / "pipelines" / folder);
    const int32_t padding = PaddingId(kGolden / "pipelines" / folder, *tokenizer);
    for (const auto& example : cases) {
      const auto expected = example.at("input_ids").get<std::vector<int32_t>>();
      const auto tokens = PadRight(tokenizer->Encode(example.at("text").get<std::string>()),
                                   static_cast<int64_t>(expected.size()), padding);
      // CLIP's own pad is its end token: only what comes before the padding is compared.
      const auto length = static_cast<size_t>(tokens.valid);
      EXPECT_EQ(std::vector(tokens.input_ids.begin(), tokens.input_ids.begin() + tokens.valid),
                std::vector(expected.begin(), expected.begin() + tokens.valid))
          << folder << ": " << example.at("text");
      if (length < expected.size()) {
        EXPECT_EQ(tokens.input_ids.back(), expected.back()) << folder;
      }
      if (example.contains("valid")) {
        EXPECT_EQ(tokens.valid, example.at("valid").get<int64_t>());
      }
    }
  }
}

}  // namespace
}  // namespace tessera
