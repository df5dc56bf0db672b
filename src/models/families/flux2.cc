// FLUX.2 klein (distilled and base): Qwen3 prompts, patchified batch-normed latents, reference pictures as extra tokens
// (specification sections 2.2 to 2.5; diffusers' Flux2KleinPipeline).
#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "layers/rotary.h"
#include "models/component_parsing.h"
#include "models/family.h"
#include "models/transformers/flux2_transformer.h"
#include "parallel/parallel_for.h"
#include "text/chat_template.h"

namespace tessera {
namespace {

constexpr int64_t kPatch = 2;                    // latent pixels per token side
constexpr int64_t kReferenceArea = 1024 * 1024;  // larger references are reduced to this
constexpr int64_t kSmallestReference = 64;
constexpr int64_t kLargestAspect = 8;
constexpr int64_t kReferenceIdStep = 10;  // the first rotary axis of reference k is 10 + 10 k
constexpr int64_t kLargestSide = 16384;

int64_t TokensOf(const PictureSize& size, int64_t cell) { return (size.height / cell) * (size.width / cell); }

// Rows (first, y, x, 0) of a grid in row-major order.
void AppendGridIds(std::vector<float>& ids, int64_t first, int64_t rows, int64_t columns) {
  for (int64_t y = 0; y < rows; ++y) {
    for (int64_t x = 0; x < columns; ++x) {
      ids.insert(ids.end(), {static_cast<float>(first), static_cast<float>(y), static_cast<float>(x), 0.0f});
    }
  }
}

Tensor PositionIds(const DenoisingJob& job, int64_t cell) {
  std::vector<float> ids;
  for (int64_t i = 0; i < job.text_tokens; ++i) ids.insert(ids.end(), {0.0f, 0.0f, 0.0f, static_cast<float>(i)});
  AppendGridIds(ids, 0, job.size.height / cell, job.size.width / cell);
  for (size_t k = 0; k < job.references.size(); ++k) {
    const int64_t first = kReferenceIdStep * (1 + static_cast<int64_t>(k));
    AppendGridIds(ids, first, job.references[k].height / cell, job.references[k].width / cell);
  }
  Tensor tensor = Tensor::Empty({static_cast<int64_t>(ids.size()) / 4, 4}, DType::kF32);
  std::memcpy(tensor.mutable_raw(), ids.data(), tensor.bytes());
  return tensor;
}

// [c, h, w] -> [(h/2)(w/2), 4c] with channel c*4 + dy*2 + dx, or back.
Tensor Patchify(const Tensor& latents) {
  const int64_t channels = latents.dim(0), rows = latents.dim(1) / kPatch, columns = latents.dim(2) / kPatch;
  Tensor tokens = Tensor::Empty({rows * columns, channels * kPatch * kPatch}, DType::kF32);
  const float* from = latents.data<float>();
  float* to = tokens.mutable_data<float>();
  for (int64_t y = 0; y < rows; ++y) {
    for (int64_t x = 0; x < columns; ++x) {
      for (int64_t c = 0; c < channels * 4; ++c) {
        const int64_t row = y * kPatch + c / 2 % 2, column = x * kPatch + c % 2;
        *to++ = from[((c / 4) * latents.dim(1) + row) * latents.dim(2) + column];
      }
    }
  }
  return tokens;
}

Tensor Unpatchify(const Tensor& tokens, int64_t rows, int64_t columns) {
  const int64_t channels = tokens.dim(1) / (kPatch * kPatch);
  Tensor latents = Tensor::Empty({channels, rows * kPatch, columns * kPatch}, DType::kF32);
  const float* from = tokens.data<float>();
  float* to = latents.mutable_data<float>();
  for (int64_t y = 0; y < rows; ++y) {
    for (int64_t x = 0; x < columns; ++x) {
      for (int64_t c = 0; c < channels * 4; ++c) {
        const int64_t row = y * kPatch + c / 2 % 2, column = x * kPatch + c % 2;
        to[((c / 4) * rows * kPatch + row) * columns * kPatch + column] = *from++;
      }
    }
  }
  return latents;
}

Tensor CopyRows(const std::vector<Tensor>& parts, int64_t channels) {
  int64_t rows = 0;
  for (const Tensor& part : parts) rows += part.dim(0);
  Tensor all = Tensor::Empty({rows, channels}, DType::kF32);
  float* to = all.mutable_data<float>();
  for (const Tensor& part : parts) {
    std::memcpy(to, part.raw(), part.bytes());
    to += part.numel();
  }
  return all;
}

class Flux2Denoiser final : public Denoiser {
 public:
  Flux2Denoiser(const Flux2Transformer& transformer, const Flux2TransformerConfig& config, DenoisingJob job,
                Conditioning conditioning, int64_t cell)
      : transformer_(transformer), config_(config), job_(std::move(job)), conditioning_(std::move(conditioning)) {
    rotary_ = AxisRotary(PositionIds(job_, cell), config.axes_dims_rope, config.rope_theta);
    noise_rows_ = TokensOf(job_.size, cell);
    if (!conditioning_.references.empty()) references_ = CopyRows(conditioning_.references, config.in_channels);
    const int64_t rows = noise_rows_ + (references_.defined() ? references_.dim(0) : 0);
    sequence_ = {job_.text_tokens, rows, job_.compute, job_.size.height / cell, job_.size.width / cell};
    input_ = Tensor::Empty({rows, config.in_channels}, DType::kF32);
    raw_ = Tensor::Empty({rows, config.out_channels}, DType::kF32);
    if (references_.defined()) {
      Tensor tail = input_.Narrow(0, noise_rows_, references_.dim(0));
      std::memcpy(tail.mutable_raw(), references_.raw(), references_.bytes());
    }
  }

  void Predict(const Tensor& latents, float timestep, ForwardContext& context, Tensor& prediction) noexcept override {
    ConvertElements(latents.raw(), latents.dtype(), input_.mutable_raw(), DType::kF32, latents.numel());
    if (conditioning_.negative_prompt.rows.defined()) {
      context.attention.BeginPass(1);
      RunPass(conditioning_.negative_prompt.rows, timestep, context);
      std::memcpy(prediction.mutable_raw(), raw_.raw(), prediction.bytes());
      context.attention.BeginPass(0);
      RunPass(conditioning_.prompt.rows, timestep, context);
      MixGuidance(prediction);
    } else {
      RunPass(conditioning_.prompt.rows, timestep, context);
      std::memcpy(prediction.mutable_raw(), raw_.raw(), prediction.bytes());
    }
  }

  Tensor RawPrediction() const override { return raw_.Clone(); }

 private:
  void RunPass(const Tensor& prompt_embeds, float timestep, ForwardContext& context) noexcept {
    const TraceScope trace(context.workspace.trace(), PassLabel(context.attention.pass()));
    Flux2Input input{input_, prompt_embeds, timestep / 1000.0f, std::nullopt, &rotary_};
    if (config_.guidance_embeds) input.guidance = static_cast<float>(job_.guidance_scale);
    transformer_.Forward(input, sequence_, context, raw_);
  }

  // prediction holds the unconditional pass, raw_ the conditional one: u + g (c - u).
  void MixGuidance(Tensor& prediction) const noexcept {
    const auto scale = static_cast<float>(job_.guidance_scale);
    float* mixed = prediction.mutable_data<float>();
    const float* conditional = raw_.data<float>();
    for (int64_t i = 0; i < prediction.numel(); ++i) mixed[i] += scale * (conditional[i] - mixed[i]);
  }

  const Flux2Transformer& transformer_;
  const Flux2TransformerConfig& config_;
  DenoisingJob job_;
  Conditioning conditioning_;
  RotaryTable rotary_;
  Flux2Sequence sequence_;
  int64_t noise_rows_ = 0;
  Tensor references_, input_, raw_;
};

class Flux2Model final : public DenoisingModel {
 public:
  Flux2Model(const Flux2TransformerConfig& config, WeightMap weights, DType compute, int64_t cell)
      : config_(config), transformer_(config, std::move(weights), compute), cell_(cell) {}
  std::unique_ptr<Denoiser> Condition(const DenoisingJob& job, Conditioning conditioning) const override {
    return std::make_unique<Flux2Denoiser>(transformer_, config_, job, std::move(conditioning), cell_);
  }

 private:
  Flux2TransformerConfig config_;
  Flux2Transformer transformer_;
  int64_t cell_;
};

class Flux2Family final : public ModelFamily {
 public:
  explicit Flux2Family(const ModelFolder& folder)
      : index_(folder.index()),
        text_encoder_(ParseComponent(folder, "text_encoder", FindTextEncoder)),
        autoencoder_(ParseComponent(folder, "vae", FindAutoencoder)),
        transformer_(Flux2TransformerConfig::From(folder.ComponentConfig("transformer"))),
        scheduler_(FlowMatchEulerConfig::From(folder.SchedulerConfig())),
        distilled_(index_.Bool("is_distilled", false)),
        cell_(autoencoder_->spatial_factor() * kPatch) {
    for (const int64_t tap : index_.Ints("text_encoder_out_layers", {9, 18, 27}))
      taps_.push_back(static_cast<int>(tap));
    RequireClass(folder, "transformer", {"Flux2Transformer2DModel"});
    RequireClass(folder, "scheduler", {"FlowMatchEulerDiscreteScheduler"});
    RequireClass(folder, "tokenizer", {"Qwen2TokenizerFast", "Qwen2Tokenizer"});
    CheckConsistency();
  }

  GenerationDefaults Defaults() const override {
    GenerationDefaults defaults;
    defaults.size = {index_.Int("default_height", 1024, 1, kLargestSide),
                     index_.Int("default_width", 1024, 1, kLargestSide)};
    defaults.steps = static_cast<int>(index_.Int("default_num_inference_steps", distilled_ ? 4 : 50, 1, 1000));
    defaults.guidance_scale = index_.Float("default_guidance_scale", distilled_ ? 1.0 : 4.0);
    defaults.max_sequence_length = index_.Int("max_sequence_length", 512, 1, 1 << 20);
    return defaults;
  }

  std::optional<std::string> WhyNoReferences() const override {
    if (index_.Bool("supports_image_edit", true)) return std::nullopt;
    return "this checkpoint was not trained with reference pictures (model_index.json: supports_image_edit is false)";
  }

  PictureSize RoundSize(PictureSize asked) const override {
    const PictureSize size{asked.height / cell_ * cell_, asked.width / cell_ * cell_};
    if (size.height < cell_ || size.width < cell_ || asked.height > kLargestSide || asked.width > kLargestSide) {
      throw Error(ErrorKind::kUsage, fmt::format("size {}x{} (width x height): each side must be {} to {} pixels",
                                                 asked.width, asked.height, cell_, kLargestSide));
    }
    return size;
  }

  bool IsGuided(double guidance_scale) const override { return !distilled_ && guidance_scale > 1.0; }

  std::vector<TextTask> TextTasks(const std::string& prompt, int64_t max_sequence_length) const override {
    TextTask task;
    task.text = Qwen3ChatWithoutThinking(prompt);
    task.job = {taps_, max_sequence_length, DType::kF32};
    return {task};
  }

  const TextEncoderSpec& text_encoder() const override { return *text_encoder_; }
  const AutoencoderSpec& autoencoder() const override { return *autoencoder_; }

  Picture PrepareReference(const Picture& picture) const override {
    if (std::min(picture.height, picture.width) < kSmallestReference) {
      throw Error(ErrorKind::kUsage, fmt::format("reference picture of {}x{} pixels: each side must be at least {}",
                                                 picture.width, picture.height, kSmallestReference));
    }
    if (std::max(picture.height, picture.width) > kLargestAspect * std::min(picture.height, picture.width)) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("reference picture of {}x{} pixels: one side is more than {} times the other",
                              picture.width, picture.height, kLargestAspect));
    }
    const Picture reduced = ReduceToArea(picture);
    const PictureSize size{reduced.height / cell_ * cell_, reduced.width / cell_ * cell_};
    return Crop(reduced, (reduced.height - size.height) / 2, (reduced.width - size.width) / 2, size.height, size.width);
  }

  Tensor PackReference(const Tensor& latents, const LatentStatistics& statistics) const override {
    Tensor tokens = Patchify(latents.Reshape({latents.dim(0), latents.dim(2), latents.dim(3)}));
    float* value = tokens.mutable_data<float>();
    const float* mean = statistics.mean.data<float>();
    const float* deviation = statistics.deviation.data<float>();
    const int64_t channels = tokens.dim(1);
    for (int64_t i = 0; i < tokens.numel(); ++i) value[i] = (value[i] - mean[i % channels]) / deviation[i % channels];
    return tokens;
  }

  Shape NoiseShape(const DenoisingJob& job) const override {
    return {1, transformer_.in_channels, job.size.height / cell_, job.size.width / cell_};
  }

  // [1, channels, h, w] -> [h*w, channels]
  Tensor PackNoise(const Tensor& noise) const override {
    return noise.Reshape({noise.dim(1), noise.dim(2) * noise.dim(3)}).Permute({1, 0}).Clone();
  }

  Tensor Unpack(const Tensor& latents, const DenoisingJob& job, const LatentStatistics& statistics) const override {
    Tensor tokens = latents.To(DType::kF32);
    float* value = tokens.mutable_data<float>();
    const float* mean = statistics.mean.data<float>();
    const float* deviation = statistics.deviation.data<float>();
    const int64_t channels = tokens.dim(1);
    for (int64_t i = 0; i < tokens.numel(); ++i) value[i] = value[i] * deviation[i % channels] + mean[i % channels];
    const Tensor plane = Unpatchify(tokens, job.size.height / cell_, job.size.width / cell_);
    return plane.Reshape({plane.dim(0), 1, plane.dim(1), plane.dim(2)});
  }

  std::unique_ptr<Scheduler> MakeScheduler(const DenoisingJob& job, const TorchGenerator&) const override {
    const double mu = Flux2Mu(TokensOf(job.size, cell_), job.steps);
    return MakeFlowMatchEuler(MakeFlowMatchSchedule(scheduler_, job.steps, mu));
  }

  std::vector<SiteProblem> DenoiserSites(const DenoisingJob& job) const override {
    return Flux2Sites(transformer_, SequenceOf(job));
  }

  Cost StepCost(const DenoisingJob& job) const override {
    Cost cost = Flux2Cost(transformer_, SequenceOf(job));
    if (IsGuided(job.guidance_scale)) {
      cost.linear_flops *= 2;
      cost.attention_flops *= 2;
    }
    return cost;
  }

  std::unique_ptr<DenoisingModel> LoadDenoiser(const ModelFolder& folder, DType compute) const override {
    return std::make_unique<Flux2Model>(transformer_, folder.Weights("transformer"), compute, cell_);
  }

 private:
  void CheckConsistency() const {
    const int64_t text_width = text_encoder_->hidden_size() * static_cast<int64_t>(taps_.size());
    if (text_width != transformer_.joint_attention_dim) {
      throw Error(
          ErrorKind::kFormat,
          fmt::format(
              "transformer/config.json: joint_attention_dim is {}, but {} taps of the text encoder's {} channels "
              "give {}",
              transformer_.joint_attention_dim, taps_.size(), text_encoder_->hidden_size(), text_width));
    }
    for (const int tap : taps_) {
      if (tap < 0 || tap > text_encoder_->num_layers()) {
        throw Error(ErrorKind::kFormat,
                    fmt::format("model_index.json: text_encoder_out_layers has {}, but the text encoder has {} "
                                "layers",
                                tap, text_encoder_->num_layers()));
      }
    }
    const int64_t latent_width = autoencoder_->latent_channels() * kPatch * kPatch;
    if (latent_width != transformer_.in_channels || latent_width != transformer_.out_channels) {
      throw Error(ErrorKind::kFormat,
                  fmt::format("transformer/config.json: in_channels {} and out_channels {} must be 4 times the vae's "
                              "latent_channels {}",
                              transformer_.in_channels, transformer_.out_channels, autoencoder_->latent_channels()));
    }
  }

  Flux2Sequence SequenceOf(const DenoisingJob& job) const {
    int64_t rows = TokensOf(job.size, cell_);
    for (const PictureSize& reference : job.references) rows += TokensOf(reference, cell_);
    return {job.text_tokens, rows, job.compute, job.size.height / cell_, job.size.width / cell_};
  }

  // Sizes are truncated, not rounded, as in the original.
  static Picture ReduceToArea(const Picture& picture) {
    const auto area = static_cast<double>(picture.height * picture.width);
    if (area <= kReferenceArea) return picture;
    const double scale = std::sqrt(kReferenceArea / area);
    return Resize(picture, static_cast<int64_t>(static_cast<double>(picture.height) * scale),
                  static_cast<int64_t>(static_cast<double>(picture.width) * scale), Resample::kLanczos);
  }

  Config index_;
  std::unique_ptr<TextEncoderSpec> text_encoder_;
  std::unique_ptr<AutoencoderSpec> autoencoder_;
  Flux2TransformerConfig transformer_;
  FlowMatchEulerConfig scheduler_;
  bool distilled_;
  int64_t cell_;  // pixels per token side
  std::vector<int> taps_;
};

std::unique_ptr<ModelFamily> Open(const ModelFolder& folder) { return std::make_unique<Flux2Family>(folder); }

}  // namespace

extern const ModelFamilyEntry flux2_family;
const ModelFamilyEntry flux2_family = {"Flux2KleinPipeline", Open};

}  // namespace tessera
