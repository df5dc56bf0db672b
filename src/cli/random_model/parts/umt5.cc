#include "cli/random_model/parts/umt5.h"

#include <string>

#include <fmt/format.h>

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kBuckets = 32, kMostDistance = 128;  // of relative positions
constexpr const char* kSpace = "\u2581";               // stands for a space
constexpr const char* kSpecialTokens[] = {"<pad>", "</s>", "<s>", "<unk>"};
constexpr int kEnd = 1, kUnknown = 3;
constexpr double kCharacterScore = -4.0, kByteScore = -8.0;  // logarithms of probabilities

void AddLayer(const std::string& block, const Umt5Size& size, TensorList* list) {
  const int64_t inner = size.heads * size.head_dim;
  const std::string attention = block + ".layer.0.SelfAttention", mlp = block + ".layer.1.DenseReluDense";
  for (const char* name : {".q", ".k", ".v"}) list->Weight(attention + name, {inner, size.width});
  list->Weight(attention + ".o", {size.width, inner});
  list->Weight(attention + ".relative_attention_bias", {kBuckets, size.heads});
  list->Scale(block + ".layer.0.layer_norm", size.width);
  list->Weight(mlp + ".wi_0", {size.mlp, size.width});
  list->Weight(mlp + ".wi_1", {size.mlp, size.width});
  list->Weight(mlp + ".wo", {size.width, size.mlp});
  list->Scale(block + ".layer.1.layer_norm", size.width);
}

std::vector<TensorSpec> Tensors(const Umt5Size& size) {
  TensorList list;
  list.Weight("shared", {size.vocabulary, size.width});
  for (int64_t i = 0; i < size.layers; ++i) AddLayer(Numbered("encoder.block", i), size, &list);
  list.Scale("encoder.final_layer_norm", size.width);
  return list.Take();
}

Json Configuration(const Umt5Size& size, DType dtype) {
  return {{"architectures", Json::array({"UMT5EncoderModel"})},
          {"classifier_dropout", 0.0},
          {"d_ff", size.mlp},
          {"d_kv", size.head_dim},
          {"d_model", size.width},
          {"decoder_start_token_id", 0},
          {"dense_act_fn", "gelu_new"},
          {"dropout_rate", 0.1},
          {"eos_token_id", kEnd},
          {"feed_forward_proj", "gated-gelu"},
          {"initializer_factor", 1.0},
          {"is_encoder_decoder", true},
          {"is_gated_act", true},
          {"layer_norm_epsilon", 1e-6},
          {"model_type", "umt5"},
          {"num_decoder_layers", size.layers},
          {"num_heads", size.heads},
          {"num_layers", size.layers},
          {"output_past", true},
          {"pad_token_id", 0},
          {"relative_attention_max_distance", kMostDistance},
          {"relative_attention_num_buckets", kBuckets},
          {"scalable_attention", true},
          {"tie_word_embeddings", false},
          {"tokenizer_class", "T5Tokenizer"},
          {"torch_dtype", TorchName(dtype)},
          {"transformers_version", kTransformersVersion},
          {"use_cache", true},
          {"vocab_size", size.vocabulary}};
}

// [token, score]: special tokens, the mark of a space, printable ASCII, bytes.
Json Vocabulary() {
  Json vocabulary = Json::array();
  const auto add = [&](const std::string& token, double score) { vocabulary.push_back(Json::array({token, score})); };
  for (const char* token : kSpecialTokens) add(token, 0.0);
  add(kSpace, kCharacterScore);
  for (char c = '!'; c <= '~'; ++c) add(std::string(1, c), kCharacterScore);
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), kByteScore);
  return vocabulary;
}

Json TokenFlags(const char* content) {
  return {{"content", content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},    {"normalized", false},  {"special", true}};
}

Json AddedTokens() {
  Json added = Json::array();
  for (const char* token : kSpecialTokens) {
    Json row = {{"id", added.size()}};
    row.update(TokenFlags(token));
    added.push_back(row);
  }
  return added;
}

Json Frame() {
  const char* end = kSpecialTokens[kEnd];
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json token = {{"SpecialToken", {{"id", end}, {"type_id", 0}}}};
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({text, token})},
          {"pair", Json::array({text, token})},
          {"special_tokens", {{end, {{"id", end}, {"ids", Json::array({kEnd})}, {"tokens", Json::array({end})}}}}}};
}

Json Tokenizer() {
  const Json strip = {{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}};
  const Json runs = {{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", kSpace}};
  const Json marks = {{"type", "Metaspace"}, {"replacement", kSpace}, {"prepend_scheme", "always"}, {"split", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", AddedTokens()},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", Json::array({strip, runs})}}},
          {"pre_tokenizer", marks},
          {"post_processor", Frame()},
          {"decoder", marks},
          {"model", {{"type", "Unigram"}, {"unk_id", kUnknown}, {"vocab", Vocabulary()}, {"byte_fallback", true}}}};
}

Json TokenizerConfig() {
  Json decoder = Json::object();
  for (const char* token : kSpecialTokens) decoder[std::to_string(decoder.size())] = TokenFlags(token);
  return {{"added_tokens_decoder", decoder},   {"clean_up_tokenization_spaces", true},
          {"eos_token", kSpecialTokens[kEnd]}, {"extra_ids", 0},
          {"model_max_length", 512},           {"pad_token", kSpecialTokens[0]},
          {"tokenizer_class", "T5Tokenizer"},  {"unk_token", kSpecialTokens[kUnknown]}};
}

}  // namespace

void AddUmt5(const Umt5Size& size, DType dtype, ModelContents* contents) {
  contents->components.push_back({"text_encoder", "model", dtype, Tensors(size)});
  contents->files.push_back(JsonFile("text_encoder/config.json", Configuration(size, dtype)));
  contents->files.push_back(JsonFile("tokenizer/tokenizer.json", Tokenizer()));
  contents->files.push_back(JsonFile("tokenizer/tokenizer_config.json", TokenizerConfig()));
}

}  // namespace tessera
