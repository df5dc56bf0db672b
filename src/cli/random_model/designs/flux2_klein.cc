// FLUX.2 klein (specifications of the published checkpoints).
#include <array>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "cli/random_model/design.h"
#include "cli/random_model/parts/kl_autoencoder.h"
#include "cli/random_model/parts/qwen3.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kTimestepChannels = 256, kMlpRatio = 3, kPatch = 2;
constexpr int64_t kMostLayers = 100;

struct KleinSize {
  std::string_view name, summary;
  int64_t double_blocks, single_blocks, heads, head_dim;
  std::array<int64_t, 4> rope_axes;
  Qwen3Size text;
  std::array<int64_t, 3> text_taps;
  KlAutoencoderSize vae;

  int64_t width() const noexcept { return heads * head_dim; }
};

constexpr KleinSize kSizes[] = {
    {.name = "flux2-klein-4b",
     .summary = "FLUX.2 klein, pictures",
     .double_blocks = 5,
     .single_blocks = 20,
     .heads = 24,
     .head_dim = 128,
     .rope_axes = {32, 32, 32, 32},
     .text = {.width = 2560,
              .layers = 36,
              .heads = 32,
              .kv_heads = 8,
              .head_dim = 128,
              .mlp = 9728,
              .vocabulary = 151936,
              .first_added_token = 151643,
              .tied_embedding = true},
     .text_taps = {9, 18, 27},
     .vae = {.channels = {128, 256, 512, 512}, .latent_channels = 32, .groups = 32, .resnets = 2}},
    {.name = "flux2-klein-9b",
     .summary = "FLUX.2 klein, pictures",
     .double_blocks = 8,
     .single_blocks = 24,
     .heads = 32,
     .head_dim = 128,
     .rope_axes = {32, 32, 32, 32},
     .text = {.width = 4096,
              .layers = 36,
              .heads = 32,
              .kv_heads = 8,
              .head_dim = 128,
              .mlp = 12288,
              .vocabulary = 151936,
              .first_added_token = 151643,
              .tied_embedding = false},
     .text_taps = {9, 18, 27},
     .vae = {.channels = {128, 256, 512, 512}, .latent_channels = 32, .groups = 32, .resnets = 2}},
    {.name = "flux2-klein-tiny",
     .summary = "FLUX.2 klein that runs in seconds",
     .double_blocks = 1,
     .single_blocks = 2,
     .heads = 2,
     .head_dim = 32,
     .rope_axes = {8, 8, 8, 8},
     .text = {.width = 64,
              .layers = 4,
              .heads = 4,
              .kv_heads = 2,
              .head_dim = 16,
              .mlp = 128,
              .vocabulary = 320,
              .first_added_token = 256,
              .tied_embedding = true},
     .text_taps = {1, 2, 3},
     .vae = {.channels = {16, 16, 32, 32}, .latent_channels = 8, .groups = 8, .resnets = 1}},
};

void AddFeedForward(const std::string& name, int64_t width, TensorList* list) {  // gated: two halves come in
  list->Weight(name + ".linear_in", {2 * kMlpRatio * width, width});
  list->Weight(name + ".linear_out", {width, kMlpRatio * width});
}

void AddDoubleBlock(const std::string& block, const KleinSize& size, TensorList* list) {
  const int64_t width = size.width();
  const std::string attention = block + ".attn.";
  for (const char* name :
       {"to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"}) {
    list->Weight(attention + name, {width, width});
  }
  for (const char* name : {"norm_q", "norm_k", "norm_added_q", "norm_added_k"}) {
    list->Scale(attention + name, size.head_dim);
  }
  AddFeedForward(block + ".ff", width, list);
  AddFeedForward(block + ".ff_context", width, list);
}

void AddSingleBlock(const std::string& block, const KleinSize& size, TensorList* list) {
  const int64_t width = size.width();
  list->Weight(block + ".attn.to_qkv_mlp_proj", {(3 + 2 * kMlpRatio) * width, width});
  list->Weight(block + ".attn.to_out", {width, (1 + kMlpRatio) * width});
  list->Scale(block + ".attn.norm_q", size.head_dim);
  list->Scale(block + ".attn.norm_k", size.head_dim);
}

std::vector<TensorSpec> Tensors(const KleinSize& size) {
  TensorList list;
  const int64_t width = size.width(), channels = size.vae.latent_channels * kPatch * kPatch;
  list.Weight("time_guidance_embed.timestep_embedder.linear_1", {width, kTimestepChannels});
  list.Weight("time_guidance_embed.timestep_embedder.linear_2", {width, width});
  list.Weight("double_stream_modulation_img.linear", {6 * width, width});
  list.Weight("double_stream_modulation_txt.linear", {6 * width, width});
  list.Weight("single_stream_modulation.linear", {3 * width, width});
  list.Weight("x_embedder", {width, channels});
  list.Weight("context_embedder", {width, static_cast<int64_t>(size.text_taps.size()) * size.text.width});
  for (int64_t i = 0; i < size.double_blocks; ++i) AddDoubleBlock(Numbered("transformer_blocks", i), size, &list);
  for (int64_t i = 0; i < size.single_blocks; ++i)
    AddSingleBlock(Numbered("single_transformer_blocks", i), size, &list);
  list.Weight("norm_out.linear", {2 * width, width});
  list.Weight("proj_out", {channels, width});
  return list.Take();
}

Json TransformerConfig(const KleinSize& size) {
  return {{"_class_name", "Flux2Transformer2DModel"},
          {"_diffusers_version", kDiffusersVersion},
          {"patch_size", 1},
          {"in_channels", 4 * size.vae.latent_channels},
          {"out_channels", nullptr},
          {"num_layers", size.double_blocks},
          {"num_single_layers", size.single_blocks},
          {"attention_head_dim", size.head_dim},
          {"num_attention_heads", size.heads},
          {"joint_attention_dim", static_cast<int64_t>(size.text_taps.size()) * size.text.width},
          {"timestep_guidance_channels", 256},
          {"mlp_ratio", 3.0},
          {"axes_dims_rope", size.rope_axes},
          {"rope_theta", 2000},
          {"eps", 1e-6},
          {"guidance_embeds", false}};
}

Json SchedulerConfig() {
  return {{"_class_name", "FlowMatchEulerDiscreteScheduler"},
          {"_diffusers_version", kDiffusersVersion},
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

Json Index(const KleinSize& size) {
  Json index = {{"_class_name", "Flux2KleinPipeline"},
                {"_diffusers_version", kDiffusersVersion},
                {"is_distilled", true},
                {"scheduler", {"diffusers", "FlowMatchEulerDiscreteScheduler"}},
                {"text_encoder", {"transformers", "Qwen3ForCausalLM"}},
                {"tokenizer", {"transformers", "Qwen2TokenizerFast"}},
                {"transformer", {"diffusers", "Flux2Transformer2DModel"}},
                {"vae", {"diffusers", "AutoencoderKLFlux2"}}};
  if (size.text_taps != std::array<int64_t, 3>{9, 18, 27}) index["text_encoder_out_layers"] = size.text_taps;
  return index;
}

ModelContents Contents(KleinSize size, const LayerCounts& counts, DType dtype) {
  size.double_blocks = counts.at("double-blocks");
  size.single_blocks = counts.at("single-blocks");
  size.text.layers = counts.at("text-layers");
  ModelContents contents;
  contents.components.push_back({"transformer", "diffusion_pytorch_model", dtype, Tensors(size)});
  contents.files.push_back(JsonFile("transformer/config.json", TransformerConfig(size)));
  AddQwen3(size.text, dtype, &contents);
  AddKlAutoencoder(size.vae, dtype, &contents);
  contents.files.push_back(JsonFile("scheduler/scheduler_config.json", SchedulerConfig()));
  contents.index = JsonFile("model_index.json", Index(size));
  return contents;
}

// Pictures need the text encoder's layers up to the last tap.
std::vector<LayerChoice> Layers(const KleinSize& size) {
  const int64_t tap = size.text_taps.back();
  return {{"double-blocks", size.double_blocks, 1, kMostLayers},
          {"single-blocks", size.single_blocks, 1, kMostLayers},
          {"text-layers", tap + 1, tap, kMostLayers, fmt::format("reads the output of layer {}", tap)}};
}

std::vector<RandomDesign> Designs() {
  std::vector<RandomDesign> designs;
  for (const KleinSize& size : kSizes) {
    const auto contents = [&size](const LayerCounts& counts, DType dtype) { return Contents(size, counts, dtype); };
    designs.push_back({std::string(size.name), std::string(size.summary), Layers(size), contents});
  }
  return designs;
}

}  // namespace

extern const RandomDesignFamily flux2_klein_random_design;
const RandomDesignFamily flux2_klein_random_design = {Designs};

}  // namespace tessera
