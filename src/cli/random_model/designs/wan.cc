// Wan 2.1, Wan 2.2 and FastWan (specifications of the published checkpoints).
#include <optional>
#include <string>
#include <string_view>

#include "cli/random_model/design.h"
#include "cli/random_model/parts/clip_vision.h"
#include "cli/random_model/parts/umt5.h"
#include "cli/random_model/parts/wan_autoencoder.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kTimestepChannels = 256, kPatch = 4, kTemporalFactor = 4;  // kPatch: latent pixels, 1 x 2 x 2
constexpr const char* kPrompts = "WanPipeline";
constexpr const char* kPictures = "WanImageToVideoPipeline";
constexpr const char* kFewSteps = "WanDMDPipeline";
constexpr const char* kWeightFiles = "diffusion_pytorch_model";

struct WanWidths {
  int64_t heads, head_dim, blocks, mlp;
};

struct WanSize {
  std::string_view name, summary, pipeline;
  WanWidths transformer;
  Umt5Size text;
  WanAutoencoderSize vae;
  double flow_shift = 3.0;
  std::optional<double> boundary{};        // there are two experts; where the second takes over
  std::optional<ClipVisionSize> vision{};  // its rows are read beside the prompt's
  bool expand_timesteps = false;           // one timestep per token
  bool has_gates = false;                  // of video sparse attention

  int64_t width() const noexcept { return transformer.heads * transformer.head_dim; }
  // A picture comes in as latents and a mask.
  int64_t in_channels() const noexcept {
    return pipeline == kPictures ? 2 * vae.latent_channels + kTemporalFactor : vae.latent_channels;
  }
};

constexpr WanWidths kWidths1B = {12, 128, 30, 8960}, kWidths5B = {24, 128, 30, 14336},
                    kWidths14B = {40, 128, 40, 13824};
constexpr WanWidths kTinyWidths = {2, 32, 2, 128};
constexpr Umt5Size kXxl = {
    .width = 4096, .layers = 24, .heads = 64, .head_dim = 64, .mlp = 10240, .vocabulary = 256384};
constexpr Umt5Size kTinyText = {.width = 64, .layers = 2, .heads = 4, .head_dim = 16, .mlp = 128, .vocabulary = 384};
constexpr WanAutoencoderSize kVae21 = {96, 96, 16, 2, 1, false}, kVae22 = {160, 256, 48, 2, 2, true};
constexpr WanAutoencoderSize kTinyVae21 = {8, 8, 16, 1, 1, false}, kTinyVae22 = {8, 16, 48, 1, 2, true};
constexpr ClipVisionSize kVitHuge = {
    .width = 1280, .layers = 32, .heads = 16, .mlp = 5120, .image_side = 224, .patch_side = 14};
constexpr ClipVisionSize kTinyVision = {
    .width = 40, .layers = 3, .heads = 2, .mlp = 64, .image_side = 56, .patch_side = 14};

constexpr WanSize kSizes[] = {
    {"wan2.1-t2v-1.3b", "Wan 2.1, films from prompts", kPrompts, kWidths1B, kXxl, kVae21},
    {"wan2.1-t2v-14b", "Wan 2.1, films from prompts", kPrompts, kWidths14B, kXxl, kVae21},
    {.name = "wan2.1-i2v-14b-480p",
     .summary = "Wan 2.1, films from a picture",
     .pipeline = kPictures,
     .transformer = kWidths14B,
     .text = kXxl,
     .vae = kVae21,
     .vision = kVitHuge},
    {.name = "wan2.2-t2v-a14b",
     .summary = "Wan 2.2 with two experts, films from prompts",
     .pipeline = kPrompts,
     .transformer = kWidths14B,
     .text = kXxl,
     .vae = kVae21,
     .boundary = 0.875},
    {.name = "wan2.2-i2v-a14b",
     .summary = "Wan 2.2 with two experts, films from pictures",
     .pipeline = kPictures,
     .transformer = kWidths14B,
     .text = kXxl,
     .vae = kVae21,
     .boundary = 0.9},
    {.name = "wan2.2-ti2v-5b",
     .summary = "Wan 2.2, films from prompts and a picture",
     .pipeline = kPrompts,
     .transformer = kWidths5B,
     .text = kXxl,
     .vae = kVae22,
     .flow_shift = 5.0,
     .expand_timesteps = true},
    {.name = "fastwan2.1-t2v-1.3b",
     .summary = "FastWan, three steps, gates of video sparse attention",
     .pipeline = kFewSteps,
     .transformer = kWidths1B,
     .text = kXxl,
     .vae = kVae21,
     .has_gates = true},
    {.name = "fastwan2.2-ti2v-5b",
     .summary = "FastWan, three steps",
     .pipeline = kFewSteps,
     .transformer = kWidths5B,
     .text = kXxl,
     .vae = kVae22,
     .flow_shift = 5.0,
     .expand_timesteps = true},
    {"wan-tiny", "Wan 2.1 that runs in seconds", kPrompts, kTinyWidths, kTinyText, kTinyVae21},
    {.name = "wan-i2v-tiny",
     .summary = "Wan 2.1 from a picture, in seconds",
     .pipeline = kPictures,
     .transformer = kTinyWidths,
     .text = kTinyText,
     .vae = kTinyVae21,
     .vision = kTinyVision},
    {.name = "wan-a14b-tiny",
     .summary = "Wan 2.2 with two experts, in seconds",
     .pipeline = kPrompts,
     .transformer = kTinyWidths,
     .text = kTinyText,
     .vae = kTinyVae21,
     .boundary = 0.875},
    {.name = "wan-ti2v-tiny",
     .summary = "Wan 2.2 TI2V that runs in seconds",
     .pipeline = kPrompts,
     .transformer = kTinyWidths,
     .text = kTinyText,
     .vae = kTinyVae22,
     .flow_shift = 5.0,
     .expand_timesteps = true},
    {.name = "fastwan-tiny",
     .summary = "FastWan that runs in seconds",
     .pipeline = kFewSteps,
     .transformer = kTinyWidths,
     .text = kTinyText,
     .vae = kTinyVae21,
     .has_gates = true},
};

void AddConditioning(const WanSize& size, TensorList* list) {
  const std::string name = "condition_embedder.";
  const int64_t width = size.width();
  list->Linear(name + "time_embedder.linear_1", width, kTimestepChannels);
  list->Linear(name + "time_embedder.linear_2", width, width);
  list->Linear(name + "time_proj", 6 * width, width);
  list->Linear(name + "text_embedder.linear_1", width, size.text.width);
  list->Linear(name + "text_embedder.linear_2", width, width);
  if (!size.vision) return;
  list->Affine(name + "image_embedder.norm1", size.vision->width);
  list->Linear(name + "image_embedder.ff.net.0.proj", size.vision->width, size.vision->width);
  list->Linear(name + "image_embedder.ff.net.2", width, size.vision->width);
  list->Affine(name + "image_embedder.norm2", width);
}

void AddAttention(const std::string& attention, int64_t width, TensorList* list) {
  for (const char* name : {".to_q", ".to_k", ".to_v", ".to_out.0"}) list->Linear(attention + name, width, width);
  list->Scale(attention + ".norm_q", width);
  list->Scale(attention + ".norm_k", width);
}

void AddBlock(const std::string& block, const WanSize& size, TensorList* list) {
  const int64_t width = size.width();
  list->Add(block + ".scale_shift_table", {1, 6, width}, TensorKind::kWeight);
  AddAttention(block + ".attn1", width, list);
  AddAttention(block + ".attn2", width, list);
  if (size.vision) {
    list->Linear(block + ".attn2.add_k_proj", width, width);
    list->Linear(block + ".attn2.add_v_proj", width, width);
    list->Scale(block + ".attn2.norm_added_k", width);
  }
  if (size.has_gates) list->Linear(block + ".to_gate_compress", width, width);
  list->Affine(block + ".norm2", width);
  list->Linear(block + ".ffn.net.0.proj", size.transformer.mlp, width);
  list->Linear(block + ".ffn.net.2", width, size.transformer.mlp);
}

std::vector<TensorSpec> Tensors(const WanSize& size) {
  TensorList list;
  list.Add("scale_shift_table", {1, 2, size.width()}, TensorKind::kWeight);
  list.Convolution("patch_embedding", {size.width(), size.in_channels(), 1, 2, 2});
  AddConditioning(size, &list);
  for (int64_t i = 0; i < size.transformer.blocks; ++i) AddBlock(Numbered("blocks", i), size, &list);
  list.Linear("proj_out", kPatch * size.vae.latent_channels, size.width());
  return list.Take();
}

Json TransformerConfig(const WanSize& size) {
  const bool reads_rows = size.vision.has_value();
  return {{"_class_name", "WanTransformer3DModel"},
          {"_diffusers_version", kDiffusersVersion},
          {"added_kv_proj_dim", reads_rows ? Json(size.width()) : Json(nullptr)},
          {"attention_head_dim", size.transformer.head_dim},
          {"cross_attn_norm", true},
          {"eps", 1e-6},
          {"ffn_dim", size.transformer.mlp},
          {"freq_dim", kTimestepChannels},
          {"image_dim", reads_rows ? Json(size.vision->width) : Json(nullptr)},
          {"in_channels", size.in_channels()},
          {"num_attention_heads", size.transformer.heads},
          {"num_layers", size.transformer.blocks},
          {"out_channels", size.vae.latent_channels},
          {"patch_size", {1, 2, 2}},
          {"pos_embed_seq_len", nullptr},
          {"qk_norm", "rms_norm_across_heads"},
          {"rope_max_seq_len", 1024},
          {"text_dim", size.text.width}};
}

Json SchedulerConfig(const WanSize& size) {
  return {{"_class_name", "UniPCMultistepScheduler"},
          {"_diffusers_version", kDiffusersVersion},
          {"beta_end", 0.02},
          {"beta_schedule", "linear"},
          {"beta_start", 0.0001},
          {"disable_corrector", Json::array()},
          {"dynamic_thresholding_ratio", 0.995},
          {"final_sigmas_type", "zero"},
          {"flow_shift", size.flow_shift},
          {"lower_order_final", true},
          {"num_train_timesteps", 1000},
          {"predict_x0", true},
          {"prediction_type", "flow_prediction"},
          {"rescale_betas_zero_snr", false},
          {"sample_max_value", 1.0},
          {"solver_order", 2},
          {"solver_p", nullptr},
          {"solver_type", "bh2"},
          {"steps_offset", 0},
          {"thresholding", false},
          {"timestep_spacing", "linspace"},
          {"trained_betas", nullptr},
          {"use_beta_sigmas", false},
          {"use_exponential_sigmas", false},
          {"use_flow_sigmas", true},
          {"use_karras_sigmas", false}};
}

Json Index(const WanSize& size) {
  const Json none = Json::array({nullptr, nullptr}), transformer = {"diffusers", "WanTransformer3DModel"};
  Json index = {{"_class_name", size.pipeline},
                {"_diffusers_version", kDiffusersVersion},
                {"boundary_ratio", size.boundary ? Json(*size.boundary) : Json(nullptr)},
                {"expand_timesteps", size.expand_timesteps},
                {"scheduler", {"diffusers", "UniPCMultistepScheduler"}},
                {"text_encoder", {"transformers", "UMT5EncoderModel"}},
                {"tokenizer", {"transformers", "T5TokenizerFast"}},
                {"transformer", transformer},
                {"transformer_2", size.boundary ? transformer : none},
                {"vae", {"diffusers", "AutoencoderKLWan"}}};
  if (size.pipeline != kPictures) return index;
  index["image_encoder"] = size.vision ? Json{"transformers", "CLIPVisionModel"} : none;
  index["image_processor"] = size.vision ? Json{"transformers", "CLIPImageProcessor"} : none;
  return index;
}

// `expert` is 0 or 1.
void AddTransformer(const WanSize& size, DType dtype, int expert, ModelContents* contents) {
  const std::string folder = expert == 0 ? "transformer" : "transformer_2";
  std::vector<TensorSpec> tensors = Tensors(size);
  for (TensorSpec& spec : tensors) spec.stream = static_cast<uint64_t>(expert);
  contents->components.push_back({folder, kWeightFiles, dtype, std::move(tensors)});
  contents->files.push_back(JsonFile(folder + "/config.json", TransformerConfig(size)));
}

ModelContents Contents(WanSize size, const LayerCounts& counts, DType dtype) {
  size.transformer.blocks = counts.at("layers");
  size.text.layers = counts.at("text-layers");
  ModelContents contents;
  for (int expert = 0; expert < (size.boundary ? 2 : 1); ++expert) AddTransformer(size, dtype, expert, &contents);
  AddUmt5(size.text, dtype, &contents);
  if (size.vision) AddClipVision(*size.vision, dtype, &contents);
  AddWanAutoencoder(size.vae, &contents);
  contents.files.push_back(JsonFile("scheduler/scheduler_config.json", SchedulerConfig(size)));
  contents.index = JsonFile("model_index.json", Index(size));
  return contents;
}

std::vector<RandomDesign> Designs() {
  std::vector<RandomDesign> designs;
  for (const WanSize& size : kSizes) {
    const int64_t blocks = size.transformer.blocks, text = size.text.layers;
    designs.push_back({std::string(size.name),
                       std::string(size.summary),
                       {{"layers", blocks, 1, blocks}, {"text-layers", text, 1, text}},
                       [&size](const LayerCounts& counts, DType dtype) { return Contents(size, counts, dtype); }});
  }
  return designs;
}

}  // namespace

extern const RandomDesignFamily wan_random_design;
const RandomDesignFamily wan_random_design = {Designs};

}  // namespace tessera
