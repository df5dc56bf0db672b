#include "cli/random_model/parts/qwen3.h"

#include <string>
#include <string_view>

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

// Qwen's pre-tokenizer: contractions, words, single digits, punctuation, white space.
constexpr const char* kPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct AddedToken {
  std::string_view content;
  int64_t offset;  // from <|endoftext|>
  bool special;
};
constexpr AddedToken kAddedTokens[] = {
    {"<|endoftext|>", 0, true},   {"<|im_start|>", 1, true},   {"<|im_end|>", 2, true}, {"<|vision_start|>", 9, true},
    {"<|vision_end|>", 10, true}, {"<|image_pad|>", 12, true}, {"<think>", 24, false},  {"</think>", 25, false}};

void AddLayer(const std::string& layer, const Qwen3Size& size, TensorList* list) {
  const int64_t width = size.width;
  const int64_t queries = size.heads * size.head_dim, keys = size.kv_heads * size.head_dim;
  list->Scale(layer + ".input_layernorm", width);
  list->Weight(layer + ".self_attn.q_proj", {queries, width});
  list->Weight(layer + ".self_attn.k_proj", {keys, width});
  list->Weight(layer + ".self_attn.v_proj", {keys, width});
  list->Weight(layer + ".self_attn.o_proj", {width, queries});
  list->Scale(layer + ".self_attn.q_norm", size.head_dim);
  list->Scale(layer + ".self_attn.k_norm", size.head_dim);
  list->Scale(layer + ".post_attention_layernorm", width);
  list->Weight(layer + ".mlp.gate_proj", {size.mlp, width});
  list->Weight(layer + ".mlp.up_proj", {size.mlp, width});
  list->Weight(layer + ".mlp.down_proj", {width, size.mlp});
}

std::vector<TensorSpec> Tensors(const Qwen3Size& size) {
  TensorList list;
  list.Weight("model.embed_tokens", {size.vocabulary, size.width});
  for (int64_t i = 0; i < size.layers; ++i) AddLayer(Numbered("model.layers", i), size, &list);
  list.Scale("model.norm", size.width);
  if (!size.tied_embedding) list.Weight("lm_head", {size.vocabulary, size.width});
  return list.Take();
}

Json Configuration(const Qwen3Size& size, DType dtype) {
  return {{"architectures", Json::array({"Qwen3ForCausalLM"})},
          {"attention_bias", false},
          {"attention_dropout", 0.0},
          {"bos_token_id", size.first_added_token},
          {"eos_token_id", size.first_added_token + 2},
          {"head_dim", size.head_dim},
          {"hidden_act", "silu"},
          {"hidden_size", size.width},
          {"initializer_range", 0.02},
          {"intermediate_size", size.mlp},
          {"max_position_embeddings", 40960},
          {"max_window_layers", size.layers},
          {"model_type", "qwen3"},
          {"num_attention_heads", size.heads},
          {"num_hidden_layers", size.layers},
          {"num_key_value_heads", size.kv_heads},
          {"rms_norm_eps", 1e-6},
          {"rope_scaling", nullptr},
          {"rope_theta", 1000000},
          {"sliding_window", nullptr},
          {"tie_word_embeddings", size.tied_embedding},
          {"torch_dtype", TorchName(dtype)},
          {"transformers_version", kTransformersVersion},
          {"use_cache", true},
          {"use_sliding_window", false},
          {"vocab_size", size.vocabulary}};
}

// GPT-2's printable stand-ins for bytes: printable Latin-1 stands for itself, the rest for U+0100 and up.
std::string StandIn(uint32_t point) {
  if (point < 0x80) return {static_cast<char>(point)};
  return {static_cast<char>(0xC0 | (point >> 6)), static_cast<char>(0x80 | (point & 0x3F))};
}

bool StandsForItself(uint32_t byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

// Token -> id: first the bytes that stand for themselves, then the others, as in GPT-2's and Qwen's vocabularies.
Json ByteVocabulary() {
  Json vocabulary = Json::object();
  int id = 0;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    if (StandsForItself(byte)) vocabulary[StandIn(byte)] = id++;
  }
  for (uint32_t point = 256; id < 256; ++point) vocabulary[StandIn(point)] = id++;
  return vocabulary;
}

Json TokenFlags(const AddedToken& token) {
  return {{"content", token.content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},          {"normalized", false},  {"special", token.special}};
}

Json Tokenizer(const Qwen3Size& size) {
  Json added = Json::array();
  for (const AddedToken& token : kAddedTokens) {
    Json row = {{"id", size.first_added_token + token.offset}};
    row.update(TokenFlags(token));
    added.push_back(row);
  }
  const Json bytes = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
  const Json split = {
      {"type", "Split"}, {"pattern", {{"Regex", kPattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  const Json model = {{"type", "BPE"},
                      {"dropout", nullptr},
                      {"unk_token", nullptr},
                      {"continuing_subword_prefix", ""},
                      {"end_of_word_suffix", ""},
                      {"fuse_unk", false},
                      {"byte_fallback", false},
                      {"ignore_merges", false},
                      {"vocab", ByteVocabulary()},
                      {"merges", Json::array()}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array({split, bytes})}}},
          {"post_processor", bytes},
          {"decoder", bytes},
          {"model", model}};
}

Json TokenizerConfig(const Qwen3Size& size) {
  Json decoder = Json::object();
  for (const AddedToken& token : kAddedTokens) {
    decoder[std::to_string(size.first_added_token + token.offset)] = TokenFlags(token);
  }
  return {{"add_bos_token", false},
          {"add_prefix_space", false},
          {"added_tokens_decoder", decoder},
          {"bos_token", nullptr},
          {"clean_up_tokenization_spaces", false},
          {"eos_token", "<|im_end|>"},
          {"errors", "replace"},
          {"model_max_length", 131072},
          {"pad_token", "<|endoftext|>"},
          {"split_special_tokens", false},
          {"tokenizer_class", "Qwen2Tokenizer"},
          {"unk_token", nullptr}};
}

}  // namespace

void AddQwen3(const Qwen3Size& size, DType dtype, ModelContents* contents) {
  contents->components.push_back({"text_encoder", "model", dtype, Tensors(size)});
  contents->files.push_back(JsonFile("text_encoder/config.json", Configuration(size, dtype)));
  contents->files.push_back(JsonFile("tokenizer/tokenizer.json", Tokenizer(size)));
  contents->files.push_back(JsonFile("tokenizer/tokenizer_config.json", TokenizerConfig(size)));
}

}  // namespace tessera
