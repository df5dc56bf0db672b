// Tokenizer files that lie, and texts that are no texts.
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/read_file.h"
#include "support/temporary_folder.h"
#include "text/explain.h"
#include "text/json_tokenizer.h"
#include "text/tokenizer.h"

namespace tessera {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

// "a", "b", "ab", "<s>" as added token.
json SmallFile() {
  return json::parse(R"({"added_tokens": [{"id": 3, "content": "<s>", "special": true}],
    "normalizer": null, "pre_tokenizer": null, "post_processor": null,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

std::string Refusal(const json& file) {
  return ErrorOf([&] { MakeJsonTokenizer(file, "t.json"); });
}

std::string RefusalWith(const std::string& place, const json& value) {
  json file = SmallFile();
  file[json::json_pointer(place)] = value;
  return Refusal(file);
}

TEST(TokenizerFile, TheSmallFileWorks) {
  const auto tokenizer = MakeJsonTokenizer(SmallFile(), "t.json");
  EXPECT_THAT(tokenizer->Encode("ab<s>ba"), ElementsAre(2, 3, 1, 0));
  EXPECT_EQ(tokenizer->vocabulary_size(), 4);
  EXPECT_EQ(tokenizer->PieceOf(3), "<s>");
  EXPECT_EQ(tokenizer->PieceOf(2), "ab");
  EXPECT_EQ(tokenizer->PieceOf(4), "");
  EXPECT_EQ(tokenizer->PieceOf(-1), "");
  EXPECT_EQ(tokenizer->IdOf("<s>"), 3);
  EXPECT_EQ(tokenizer->IdOf("c"), std::nullopt);
}

TEST(TokenizerFile, AVocabularyThatLiesIsRefused) {
  EXPECT_EQ(RefusalWith("/model/vocab", nullptr), "t.json (model): the vocabulary must be an object, found null");
  EXPECT_THAT(RefusalWith("/model/vocab", json::array()), HasSubstr("found an array of 0"));
  EXPECT_THAT(RefusalWith("/model/vocab/a", -1),
              HasSubstr("the id of token 'a' must be an integer from 0 to 4194303, found -1"));
  EXPECT_THAT(RefusalWith("/model/vocab/a", 1.5), HasSubstr("found 1.5"));
  EXPECT_THAT(RefusalWith("/model/vocab/a", "0"), HasSubstr("found \"0\""));
  EXPECT_THAT(RefusalWith("/model/vocab/a", 99999999999), HasSubstr("found 99999999999"));
  EXPECT_THAT(RefusalWith("/model/vocab/a", ~uint64_t{0}), HasSubstr("found 18446744073709551615"));
  EXPECT_EQ(RefusalWith("/model/vocab/c", 1), "t.json (model): the tokens 'b' and 'c' have the same id 1");
  json missing = SmallFile();
  missing["model"].erase("vocab");
  EXPECT_THAT(Refusal(missing), HasSubstr("the vocabulary must be an object"));
}

TEST(TokenizerFile, MergesThatLieAreRefused) {
  EXPECT_EQ(RefusalWith("/model/merges", {"a c"}), "t.json (model): merge 0: the token 'c' is not in the vocabulary");
  EXPECT_EQ(RefusalWith("/model/merges", {"a b", "b a"}),
            "t.json (model): merge 1: the token 'ba' is not in the vocabulary");
  EXPECT_EQ(RefusalWith("/model/merges", json::array({"ab"})),
            "t.json (model): merge 0 must name two tokens, found \"ab\"");
  EXPECT_THAT(RefusalWith("/model/merges", json::array({"a b a"})), HasSubstr("merge 0 must name two tokens"));
  EXPECT_THAT(RefusalWith("/model/merges", json::array({json::array({"a", 1})})),
              HasSubstr("merge 0 must name two tokens"));
  EXPECT_THAT(RefusalWith("/model/merges", "a b"), HasSubstr("'merges' must be an array"));
  EXPECT_EQ(RefusalWith("/model/merges", json::array({json::array({"a", "b"})})), "no error");
}

TEST(TokenizerFile, OptionsOfTheWrongTypeAreRefused) {
  EXPECT_THAT(RefusalWith("/model/unk_token", "?"), HasSubstr("the unknown token '?' is not in the vocabulary"));
  EXPECT_THAT(RefusalWith("/model/byte_fallback", 1), HasSubstr("'byte_fallback' must be true or false, found 1"));
  EXPECT_THAT(RefusalWith("/model/dropout", 0.1), HasSubstr("'dropout' makes ids random"));
  EXPECT_THAT(RefusalWith("/normalizer", "NFC"), HasSubstr("'normalizer' must be an object, found \"NFC\""));
  EXPECT_THAT(RefusalWith("/model", json::array()), HasSubstr("'model' must be an object"));
  EXPECT_THAT(Refusal(json::array()), HasSubstr("expected a JSON object"));
  EXPECT_THAT(Refusal(json::object()), HasSubstr("'model' must be an object"));
}

TEST(TokenizerFile, PartsThatAreNotKnownAreRefusedByName) {
  EXPECT_THAT(RefusalWith("/normalizer", {{"type", "Nmt"}}),
              HasSubstr("the normalizer 'Nmt' is not known; known are NFC"));
  EXPECT_THAT(RefusalWith("/pre_tokenizer", {{"type", "Magic"}}), HasSubstr("the pre-tokenizer 'Magic' is not known"));
  EXPECT_THAT(RefusalWith("/post_processor", {{"type", "Magic"}}),
              HasSubstr("the post-processor 'Magic' is not known"));
  EXPECT_THAT(RefusalWith("/model/type", "WordPiece"), HasSubstr("the model 'WordPiece' is not known; known are BPE"));
  EXPECT_THAT(RefusalWith("/model/type", 3), HasSubstr("'type' must be a string, found 3"));
  EXPECT_THAT(RefusalWith("/normalizer", json::object()), HasSubstr("(normalizer): 'type' is missing"));
  const json nested = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "Nmt"}}}}};
  EXPECT_THAT(RefusalWith("/normalizer", nested), HasSubstr("(normalizers[1]): the normalizer 'Nmt' is not known"));
  const json behavior = {{"type", "Split"}, {"behavior", "Odd"}, {"pattern", {{"String", " "}}}};
  EXPECT_THAT(RefusalWith("/pre_tokenizer", behavior), HasSubstr("the behavior 'Odd' is not known"));
}

TEST(TokenizerFile, PatternsThatDoNotCompileAreRefused) {
  const auto split = [](const json& pattern) {
    return RefusalWith("/pre_tokenizer", {{"type", "Split"}, {"pattern", pattern}});
  };
  EXPECT_THAT(split({{"Regex", "(a"}}),
              HasSubstr("the regular expression '(a' cannot be used: missing closing parenthesis"));
  EXPECT_THAT(split({{"Regex", "[a&&b]"}}), HasSubstr("a class inside a class"));
  EXPECT_THAT(split({{"Glob", "*"}}), HasSubstr("neither 'String' nor 'Regex'"));
  EXPECT_THAT(split({{"Regex", std::string(10000, '(')}}), HasSubstr("cannot be used"));
}

TEST(TokenizerFile, AddedTokensThatLieAreRefused) {
  EXPECT_THAT(RefusalWith("/added_tokens/0/id", -3), HasSubstr("the id of token '<s>' must be an integer"));
  EXPECT_THAT(RefusalWith("/added_tokens/0/id", 1),
              HasSubstr("the added token '<s>' has the id 1, but that is the id of 'b'"));
  EXPECT_THAT(RefusalWith("/added_tokens/0/content", "a"),
              HasSubstr("the added token 'a' has the id 3, but it is already there as 0"));
  EXPECT_THAT(RefusalWith("/added_tokens/0/content", 7), HasSubstr("'content' must be a string"));
  EXPECT_EQ(RefusalWith("/added_tokens/1", {{"id", 4}, {"content", "<t>"}}), "no error");
  EXPECT_THAT(RefusalWith("/added_tokens/1", {{"id", 4}, {"content", "<s>"}}), HasSubstr("already there as 3"));
  EXPECT_THAT(RefusalWith("/added_tokens/1", {{"id", 3}, {"content", "<s>"}}), HasSubstr("it is there twice"));
  EXPECT_THAT(RefusalWith("/added_tokens/1", {{"content", "x"}}), HasSubstr("needs 'id' and 'content'"));
  EXPECT_THAT(RefusalWith("/added_tokens/1", 5), HasSubstr("(added_tokens[1]): expected an object, found 5"));
  EXPECT_THAT(RefusalWith("/added_tokens", 5), HasSubstr("'added_tokens' must be an array"));
}

TEST(TokenizerFile, TemplatesThatLieAreRefused) {
  const auto with = [](const char* text) { return RefusalWith("/post_processor", json::parse(text)); };
  EXPECT_THAT(
      with(
          R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<x>"}},{"Sequence":{"id":"A"}}],"special_tokens":{}})"),
      HasSubstr("the template's token '<x>' is missing"));
  EXPECT_THAT(
      with(
          R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}},{"Sequence":{"id":"A"}}],"special_tokens":{"x":{"ids":[4]}}})"),
      HasSubstr("the token id 4 is not from 0 to 3"));
  EXPECT_THAT(with(R"({"type":"TemplateProcessing","single":[],"special_tokens":{}})"),
              HasSubstr("no place for the text"));
  EXPECT_THAT(with(R"({"type":"TemplateProcessing"})"), HasSubstr("'single' must be an array"));
  EXPECT_THAT(with(R"({"type":"RobertaProcessing","cls":["a",0]})"), HasSubstr("'sep' must be [token, id]"));
}

TEST(TokenizerFile, InvalidBytesAreReplacedAsPythonDoes) {
  json file = SmallFile();
  file["model"]["vocab"]["\xEF\xBF\xBD"] = 4;
  const auto tokenizer = MakeJsonTokenizer(file, "t.json");
  EXPECT_THAT(tokenizer->Encode("a\xff"
                                "b"),
              ElementsAre(0, 4, 1));
  EXPECT_THAT(tokenizer->Encode("\xed\xa0\x80"), ElementsAre(4, 4, 4));
  EXPECT_THAT(tokenizer->Encode("\xe2\x82"), ElementsAre(4));
}

TEST(TokenizerFile, LongPiecesAndZeroBytesAreText) {
  const auto tokenizer = LoadTokenizer(TESSERA_SOURCE_FOLDER "/tests/golden/tokenizers/qwen2");
  EXPECT_EQ(tokenizer->Encode(std::string(1, '\0')).size(), 1u);
  const std::string letters(1 << 20, 'q');
  size_t bytes = 0;
  for (const int32_t id : tokenizer->Encode(letters)) bytes += tokenizer->PieceOf(id).size();
  EXPECT_EQ(bytes, letters.size());
}

TEST(TokenizerFolder, WhatIsMissingIsNamed) {
  const TemporaryFolder folder;
  const auto refusal = [&] { return ErrorOf([&] { LoadTokenizer(folder.path()); }); };
  EXPECT_THAT(refusal(), HasSubstr("it has neither tokenizer.json nor vocab.json with merges.txt"));
  folder.Write("vocab.json", R"({"a": 0, "b": 1, "ab": 2, "<pad>": 3})");
  EXPECT_THAT(refusal(), HasSubstr("the rules of the tokenizer_class '' are not known"));
  folder.Write("tokenizer_config.json", R"({"tokenizer_class": "BloomTokenizer"})");
  EXPECT_THAT(refusal(), HasSubstr("tokenizer_class 'BloomTokenizer' are not known; known are Qwen2Tokenizer"));
  folder.Write("tokenizer_config.json", R"({"tokenizer_class": "Qwen2TokenizerFast"})");
  EXPECT_THAT(refusal(), HasSubstr("merges.txt: no such file"));
  folder.Write("merges.txt", "#version: 0.2\na b\r\na b a\n");
  EXPECT_THAT(refusal(), HasSubstr("merges.txt: line 3 must name two tokens, found 'a b a'"));
  folder.Write("merges.txt", "#version: 0.2\na b\r\n\n");
  EXPECT_EQ(refusal(), "no error");
  folder.Write("added_tokens.json", R"({"<x>": "4"})");
  EXPECT_THAT(refusal(), HasSubstr("the id of token '<x>' must be an integer"));
  folder.Write("tokenizer.json", "{");
  EXPECT_THAT(refusal(), HasSubstr("tokenizer.json: not valid JSON at line 1"));
}

TEST(PaddingId, IsFoundInEitherFileAndForm) {
  const TemporaryFolder folder;
  const auto tokenizer = MakeJsonTokenizer(SmallFile(), "t.json");
  const auto refusal = [&] { return ErrorOf([&] { PaddingId(folder.path(), *tokenizer); }); };
  EXPECT_THAT(refusal(), HasSubstr("no padding token in"));
  folder.Write("tokenizer_config.json", R"({"pad_token": null})");
  folder.Write("special_tokens_map.json", R"({"pad_token": {"content": "<s>"}})");
  EXPECT_EQ(PaddingId(folder.path(), *tokenizer), 3);
  folder.Write("tokenizer_config.json", R"({"pad_token": "b"})");
  EXPECT_EQ(PaddingId(folder.path(), *tokenizer), 1);
  folder.Write("tokenizer_config.json", R"({"pad_token": "?"})");
  EXPECT_THAT(refusal(), HasSubstr("the pad_token '?' is not a token"));
}

TEST(PadRight, TruncatesAndPads) {
  const PromptTokens padded = PadRight({5, 6}, 4, 9);
  EXPECT_THAT(padded.input_ids, ElementsAre(5, 6, 9, 9));
  EXPECT_EQ(padded.valid, 2);
  const PromptTokens cut = PadRight({5, 6, 7}, 2, 9);
  EXPECT_THAT(cut.input_ids, ElementsAre(5, 6));
  EXPECT_EQ(cut.valid, 2);
}

TEST(Explain, ShowsIdsAndPieces) {
  const auto tokenizer = MakeJsonTokenizer(SmallFile(), "t.json");
  EXPECT_EQ(ExplainTokens(*tokenizer, "ab<s>"), "2 tokens\n    0       2 ab\n    1       3 <s>\n");
  EXPECT_EQ(ExplainTokensAsJson(*tokenizer, "b\xff"),
            "{\"text\":\"b\xEF\xBF\xBD\",\"count\":1,\"tokens\":[{\"id\":1,\"piece\":\"b\"}]}\n");
}

}  // namespace
}  // namespace tessera
