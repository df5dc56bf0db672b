#include "cli/random_model/model_files.h"

#include <array>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kDiffusers = "0.37.0";
constexpr const char* kTransformers = "4.56.1";

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

std::string Text(const Json& json) { return json.dump(2) + "\n"; }

std::string TorchName(DType dtype) {
  return dtype == DType::kF32 ? "float32" : dtype == DType::kF16 ? "float16" : "bfloat16";
}

Json TransformerConfig(const KleinSize& size) {
  return {{"_class_name", "Flux2Transformer2DModel"},
          {"_diffusers_version", kDiffusers},
          {"patch_size", 1},
          {"in_channels", 4 * size.latent_channels},
          {"out_channels", nullptr},
          {"num_layers", size.double_blocks},
          {"num_single_layers", size.single_blocks},
          {"attention_head_dim", size.head_dim},
          {"num_attention_heads", size.heads},
          {"joint_attention_dim", static_cast<int64_t>(size.text_taps.size()) * size.text_width},
          {"timestep_guidance_channels", 256},
          {"mlp_ratio", 3.0},
          {"axes_dims_rope", size.rope_axes},
          {"rope_theta", 2000},
          {"eps", 1e-6},
          {"guidance_embeds", false}};
}

Json TextEncoderConfig(const KleinSize& size, DType dtype) {
  return {{"architectures", Json::array({"Qwen3ForCausalLM"})},
          {"attention_bias", false},
          {"attention_dropout", 0.0},
          {"bos_token_id", size.first_added_token},
          {"eos_token_id", size.first_added_token + 2},
          {"head_dim", size.text_head_dim},
          {"hidden_act", "silu"},
          {"hidden_size", size.text_width},
          {"initializer_range", 0.02},
          {"intermediate_size", size.text_mlp},
          {"max_position_embeddings", 40960},
          {"max_window_layers", size.text_layers},
          {"model_type", "qwen3"},
          {"num_attention_heads", size.text_heads},
          {"num_hidden_layers", size.text_layers},
          {"num_key_value_heads", size.text_kv_heads},
          {"rms_norm_eps", 1e-6},
          {"rope_scaling", nullptr},
          {"rope_theta", 1000000},
          {"sliding_window", nullptr},
          {"tie_word_embeddings", size.tied_embedding},
          {"torch_dtype", TorchName(dtype)},
          {"transformers_version", kTransformers},
          {"use_cache", true},
          {"use_sliding_window", false},
          {"vocab_size", size.vocabulary}};
}

Json AutoencoderConfig(const KleinSize& size) {
  const Json down =
      Json::array({"DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"});
  const Json up = Json::array({"UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"});
  return {{"_class_name", "AutoencoderKLFlux2"},
          {"_diffusers_version", kDiffusers},
          {"act_fn", "silu"},
          {"batch_norm_eps", 1e-4},
          {"batch_norm_momentum", 0.1},
          {"block_out_channels", size.vae_channels},
          {"down_block_types", down},
          {"force_upcast", true},
          {"in_channels", 3},
          {"latent_channels", size.latent_channels},
          {"layers_per_block", size.vae_resnets},
          {"mid_block_add_attention", true},
          {"norm_num_groups", size.vae_groups},
          {"out_channels", 3},
          {"patch_size", {2, 2}},
          {"sample_size", 1024},
          {"up_block_types", up},
          {"use_post_quant_conv", true},
          {"use_quant_conv", true}};
}

Json SchedulerConfig() {
  return {{"_class_name", "FlowMatchEulerDiscreteScheduler"},
          {"_diffusers_version", kDiffusers},
          {"base_image_seq_len", 256},
          {"base_shift", 0.5},
          {"invert_sigmas", false},
          {"max_image_seq_len", 4096},
          {"max_shift", 1.15},
          {"num_train_timesteps", 1000},
          {"shift", 3.0},
          {"shift_terminal", nullptr},
          {"stochastic_sampling", false},
          {"time_shift_type", "exponential"},
          {"use_beta_sigmas", false},
          {"use_dynamic_shifting", true},
          {"use_exponential_sigmas", false},
          {"use_karras_sigmas", false}};
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

Json Tokenizer(const KleinSize& size) {
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

Json TokenizerConfig(const KleinSize& size) {
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

std::vector<ModelFile> ConfigurationFiles(const KleinSize& size, DType dtype) {
  return {{"transformer/config.json", Text(TransformerConfig(size))},
          {"text_encoder/config.json", Text(TextEncoderConfig(size, dtype))},
          {"vae/config.json", Text(AutoencoderConfig(size))},
          {"scheduler/scheduler_config.json", Text(SchedulerConfig())},
          {"tokenizer/tokenizer.json", Text(Tokenizer(size))},
          {"tokenizer/tokenizer_config.json", Text(TokenizerConfig(size))}};
}

ModelFile IndexFile(const KleinSize& size) {
  Json index = {{"_class_name", "Flux2KleinPipeline"},
                {"_diffusers_version", kDiffusers},
                {"is_distilled", true},
                {"scheduler", {"diffusers", "FlowMatchEulerDiscreteScheduler"}},
                {"text_encoder", {"transformers", "Qwen3ForCausalLM"}},
                {"tokenizer", {"transformers", "Qwen2TokenizerFast"}},
                {"transformer", {"diffusers", "Flux2Transformer2DModel"}},
                {"vae", {"diffusers", "AutoencoderKLFlux2"}}};
  if (size.text_taps != std::array<int64_t, 3>{9, 18, 27}) index["text_encoder_out_layers"] = size.text_taps;
  return {"model_index.json", Text(index)};
}

}  // namespace tessera
