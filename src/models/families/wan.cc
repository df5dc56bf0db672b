// Wan: films from prompts and pictures (specification section 3; diffusers' WanPipeline and WanImageToVideoPipeline).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <variant>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "models/component_parsing.h"
#include "models/family.h"
#include "models/transformers/wan_transformer.h"
#include "schedulers/unipc.h"
#include "text/prompt_cleaning.h"

namespace tessera {
namespace {

constexpr int64_t kLargestSide = 16384;
constexpr int64_t kMostFrames = 1 << 16;

using SchedulerConfig = std::variant<UniPcConfig, FlowMatchEulerConfig>;

SchedulerConfig ReadScheduler(const ModelFolder& folder) {
  const Config config = folder.SchedulerConfig();
  const std::string name = config.String("_class_name", "UniPCMultistepScheduler");
  if (name == "UniPCMultistepScheduler") return UniPcConfig::From(config);
  if (name == "FlowMatchEulerDiscreteScheduler") return FlowMatchEulerConfig::From(config);
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{}: scheduler class '{}' is not supported; supported: UniPCMultistepScheduler, "
                          "FlowMatchEulerDiscreteScheduler",
                          config.file(), Printable(name)));
}

// The one or two denoisers of a checkpoint and when which is used.
struct Experts {
  WanTransformerConfig first;
  std::optional<WanTransformerConfig> second;
  double boundary = 0;            // timesteps below it belong to the second
  bool expand_timesteps = false;  // a timestep per token: the given first frame has 0
  int64_t temporal_factor = 4;
  int64_t picture_rows = 0;  // of the vision encoder, per reference

  const WanTransformerConfig& Of(int expert) const { return expert == 0 ? first : *second; }
  static const char* Component(int expert) noexcept { return expert == 0 ? "transformer" : "transformer_2"; }
};

WanTransformerConfig ReadTransformer(const ModelFolder& folder, const std::string& component) {
  WanTransformerConfig config = WanTransformerConfig::From(folder.ComponentConfig(component));
  config.to_gate_compress = HasWanGates(folder.Weights(component));
  return config;
}

WanSequence SequenceOf(const Experts& experts, int expert, const DenoisingJob& job, const Shape& latents) {
  const auto references = static_cast<int64_t>(job.references.size());
  return {Experts::Component(expert),        latents[1], latents[2], latents[3], job.text_tokens,
          experts.picture_rows * references, job.compute};
}

// latents [channels, frames, h, w] <- (1 - g) unconditional + g conditional, in place of the conditional.
void MixGuidance(const Tensor& unconditional, double guidance, Tensor& conditional) noexcept {
  const auto scale = static_cast<float>(guidance);
  const float* u = unconditional.data<float>();
  float* c = conditional.mutable_data<float>();
  for (int64_t i = 0; i < conditional.numel(); ++i) c[i] = u[i] + scale * (c[i] - u[i]);
}

class WanDenoiser final : public Denoiser {
 public:
  WanDenoiser(const Experts& experts, const ModelFolder& folder, DenoisingJob job, Conditioning conditioning,
              const Shape& latents)
      : experts_(experts),
        folder_(folder),
        job_(std::move(job)),
        conditioning_(std::move(conditioning)),
        latents_(latents),
        rotary_(WanRotary(experts.first, SequenceOf(experts, 0, job_, latents))) {
    input_ = Tensor::Zeros({experts.first.in_channels, latents[1], latents[2], latents[3]}, DType::kF32);
    raw_ = Tensor::Empty(latents, DType::kF32);
    if (guided()) unconditional_ = Tensor::Empty(latents, DType::kF32);
    if (is_conditioned() && !experts_.expand_timesteps) FillCondition();
  }

  // Only the expert in use is loaded.
  void BeginStep(float timestep, ForwardContext& context) override {
    const int wanted = experts_.second && static_cast<double>(timestep) < experts_.boundary ? 1 : 0;
    if (wanted == expert_) return;
    transformer_.reset();
    expert_ = wanted;
    transformer_ = std::make_unique<WanTransformer>(experts_.Of(wanted), folder_.Weights(Experts::Component(wanted)),
                                                    job_.compute);
    sequence_ = SequenceOf(experts_, wanted, job_, latents_);
    prompt_ = Prepare(conditioning_.prompt, context);
    if (guided()) negative_ = Prepare(conditioning_.negative_prompt, context);
  }

  void Predict(const Tensor& latents, float timestep, ForwardContext& context, Tensor& prediction) noexcept override {
    std::memcpy(input_.mutable_raw(), latents.raw(), latents.bytes());
    if (holds_first_frame()) PutFirstFrame(input_);
    context.attention.BeginPass(0);
    RunPass(prompt_, timestep, context, raw_);
    std::memcpy(prediction.mutable_raw(), raw_.raw(), raw_.bytes());
    if (!guided()) return;
    context.attention.BeginPass(1);
    RunPass(negative_, timestep, context, unconditional_);
    MixGuidance(unconditional_, expert_ == 0 ? job_.guidance_scale : job_.guidance_scale_2, prediction);
  }

  Tensor RawPrediction() const override { return raw_.Clone(); }

  void Finish(Tensor& latents) noexcept override {
    if (holds_first_frame()) PutFirstFrame(latents);
  }

 private:
  bool guided() const noexcept { return conditioning_.negative_prompt.rows.defined(); }
  bool is_conditioned() const noexcept { return !conditioning_.references.empty(); }
  bool holds_first_frame() const noexcept { return is_conditioned() && experts_.expand_timesteps; }

  WanConditioning Prepare(const PromptEmbeds& prompt, ForwardContext& context) const {
    return transformer_->Condition(prompt.rows, prompt.valid, conditioning_.image_embeds, sequence_, context);
  }

  void RunPass(const WanConditioning& conditioning, float timestep, ForwardContext& context,
               Tensor& prediction) const noexcept {
    const int64_t tokens = WanTokens(experts_.first, sequence_);
    const int64_t frame = tokens / (latents_[1] / experts_.first.patch_t);
    const WanTimestep whole[] = {{tokens, timestep}};
    const WanTimestep parts[] = {{frame, 0.0f}, {tokens - frame, timestep}};
    WanTransformer::Input input{input_, whole, &conditioning, &rotary_};
    if (holds_first_frame() && tokens > frame) input.timesteps = parts;
    transformer_->Forward(input, sequence_, context, prediction);
  }

  // Frame 0 of every channel from the encoded picture [channels, 1, h, w].
  void PutFirstFrame(Tensor& latents) const noexcept {
    const Tensor& picture = conditioning_.references.front();
    const int64_t plane = latents_[2] * latents_[3];
    for (int64_t c = 0; c < latents_[0]; ++c) {
      std::memcpy(latents.mutable_data<float>() + c * latents_[1] * plane, picture.data<float>() + c * plane,
                  static_cast<size_t>(plane) * sizeof(float));
    }
  }

  // Channels behind the latents: which frames are given (one channel per frame of a latent frame), then the encoded
  // film that has them.
  void FillCondition() noexcept {
    const int64_t plane = latents_[2] * latents_[3], frames = latents_[1];
    float* mask = input_.mutable_data<float>() + latents_[0] * frames * plane;
    const bool has_last = job_.references.size() > 1;
    for (int64_t c = 0; c < experts_.temporal_factor; ++c) {
      for (int64_t t = 0; t < frames; ++t) {
        const int64_t frame = std::max<int64_t>(0, t * experts_.temporal_factor + c - (experts_.temporal_factor - 1));
        const bool given = frame == 0 || (has_last && frame == job_.frames - 1);
        std::fill_n(mask + (c * frames + t) * plane, plane, given ? 1.0f : 0.0f);
      }
    }
    const Tensor& film = conditioning_.references.front();
    std::memcpy(mask + experts_.temporal_factor * frames * plane, film.raw(), film.bytes());
  }

  const Experts& experts_;
  const ModelFolder& folder_;
  const DenoisingJob job_;
  const Conditioning conditioning_;
  const Shape latents_;
  const RotaryTable rotary_;
  int expert_ = -1;
  std::unique_ptr<WanTransformer> transformer_;
  WanSequence sequence_;
  WanConditioning prompt_, negative_;
  Tensor input_, raw_, unconditional_;
};

class WanModel final : public DenoisingModel {
 public:
  WanModel(const Experts& experts, const ModelFolder& folder, const AutoencoderSpec& autoencoder)
      : experts_(experts), folder_(folder), autoencoder_(autoencoder) {}
  std::unique_ptr<Denoiser> Condition(const DenoisingJob& job, Conditioning conditioning) const override {
    const int64_t factor = autoencoder_.spatial_factor();
    const Shape latents{autoencoder_.latent_channels(), (job.frames - 1) / autoencoder_.temporal_factor() + 1,
                        job.size.height / factor, job.size.width / factor};
    return std::make_unique<WanDenoiser>(experts_, folder_, job, std::move(conditioning), latents);
  }

 private:
  const Experts& experts_;
  const ModelFolder& folder_;
  const AutoencoderSpec& autoencoder_;
};

class WanFamily final : public ModelFamily {
 public:
  explicit WanFamily(const ModelFolder& folder)
      : index_(folder.index()),
        from_pictures_(folder.pipeline_class() == "WanImageToVideoPipeline"),
        text_encoder_(ParseComponent(folder, "text_encoder", FindTextEncoder)),
        autoencoder_(ParseComponent(folder, "vae", FindAutoencoder)),
        scheduler_(ReadScheduler(folder)) {
    experts_.first = ReadTransformer(folder, "transformer");
    experts_.expand_timesteps = index_.Bool("expand_timesteps", false);
    experts_.temporal_factor = autoencoder_->temporal_factor();
    if (experts_.first.image_dim) ReadVisionEncoder(folder);
    CheckConsistency(folder, experts_.first);
    if (folder.component("transformer_2").value_or(ComponentEntry{}).class_name.empty()) return;
    experts_.second = ReadTransformer(folder, "transformer_2");
    experts_.boundary = index_.Float("boundary_ratio", 0.0) * TrainTimesteps();
    if (!(experts_.boundary > 0)) {
      throw Error(ErrorKind::kFormat, fmt::format("model '{}': model_index.json names a transformer_2, but no "
                                                  "boundary_ratio says when it is used",
                                                  Printable(folder.name())));
    }
    CheckConsistency(folder, *experts_.second);
  }

  GenerationDefaults Defaults() const override {
    GenerationDefaults defaults;
    const bool large = experts_.expand_timesteps;
    defaults.size = {large ? 704 : 480, large ? 1280 : 832};
    defaults.frames = large ? 121 : 81;
    defaults.fps = large ? 24 : 16;
    defaults.steps = experts_.second ? 40 : 50;
    defaults.guidance_scale = experts_.second ? (from_pictures_ ? 3.5 : 4.0) : 5.0;
    if (experts_.second) defaults.guidance_scale_2 = from_pictures_ ? 3.5 : 3.0;
    defaults.max_sequence_length = index_.Int("max_sequence_length", 512, 1, 1 << 20);
    return defaults;
  }

  std::optional<std::string> WhyNoReferences() const override {
    if (from_pictures_ || experts_.expand_timesteps) return std::nullopt;
    return "this checkpoint makes films from prompts alone (WanPipeline)";
  }
  // Learned positions are those of two pictures' rows; without them one picture's are read.
  size_t FewestReferences() const override {
    if (vision_encoder_ != nullptr) return MostReferences();
    return from_pictures_ && !experts_.expand_timesteps ? 1 : 0;
  }
  size_t MostReferences() const override {
    if (vision_encoder_ != nullptr) return experts_.first.pos_embed_seq_len ? 2 : 1;
    return experts_.expand_timesteps ? 1 : 2;
  }

  // The model's own number of pixels in the picture's shape.
  PictureSize DefaultSize(std::span<const PictureSize> references) const override {
    const PictureSize own = Defaults().size;
    if (references.empty()) return own;
    const auto area = static_cast<double>(own.height * own.width);
    const double aspect = static_cast<double>(references[0].height) / static_cast<double>(references[0].width);
    return {std::max(cell(), static_cast<int64_t>(std::nearbyint(std::sqrt(area * aspect))) / cell() * cell()),
            std::max(cell(), static_cast<int64_t>(std::nearbyint(std::sqrt(area / aspect))) / cell() * cell())};
  }

  PictureSize RoundSize(PictureSize asked) const override {
    const PictureSize size{asked.height / cell() * cell(), asked.width / cell() * cell()};
    if (size.height < cell() || size.width < cell() || asked.height > kLargestSide || asked.width > kLargestSide) {
      throw Error(ErrorKind::kUsage, fmt::format("size {}x{} (width x height): each side must be {} to {} pixels",
                                                 asked.width, asked.height, cell(), kLargestSide));
    }
    return size;
  }

  int64_t RoundFrames(int64_t asked) const override {
    if (asked < 1 || asked > kMostFrames) {
      throw Error(ErrorKind::kUsage, fmt::format("--num-frames {}: 1 to {} frames are possible", asked, kMostFrames));
    }
    const int64_t factor = experts_.temporal_factor;
    return asked % factor == 1 ? asked : std::max<int64_t>(1, asked / factor * factor + 1);
  }

  bool IsGuided(double guidance_scale) const override { return guidance_scale > 1.0; }

  std::vector<TextTask> TextTasks(const std::string& prompt, int64_t max_sequence_length) const override {
    TextTask task;
    task.text = CleanPrompt(prompt);
    task.job = {{text_encoder_->num_layers()}, max_sequence_length, DType::kF32};
    return {task};
  }
  // Padding is zeros.
  void FinishPrompt(PromptEmbeds& prompt) const override {
    Tensor padding = prompt.rows.Narrow(0, prompt.valid, prompt.rows.dim(0) - prompt.valid);
    if (padding.numel() > 0) std::memset(padding.mutable_raw(), 0, padding.bytes());
  }
  const TextEncoderSpec& text_encoder() const override { return *text_encoder_; }
  const AutoencoderSpec& autoencoder() const override { return *autoencoder_; }
  const VisionEncoderSpec* vision_encoder() const override { return vision_encoder_.get(); }

  Picture PrepareReference(const Picture& picture) const override {
    // Throws for a picture that the encoder could not take later.
    if (vision_encoder_ != nullptr) static_cast<void>(vision_encoder_->Pixels(picture));
    return picture;
  }

  // One film: the given pictures at its ends, grey between them; with a timestep per token the first picture alone.
  std::vector<std::vector<Tensor>> FramesToEncode(std::span<const Picture> references,
                                                  const DenoisingJob& job) const override {
    if (references.empty()) return {};
    const auto stretched = [&](const Picture& picture) {
      return PixelsOf(Resize(picture, job.size.height, job.size.width, Resample::kLanczos));
    };
    std::vector<Tensor> frames = {stretched(references[0])};
    if (experts_.expand_timesteps) return {frames};
    frames.resize(static_cast<size_t>(job.frames), Tensor::Zeros({job.size.height, job.size.width, 3}, DType::kF32));
    if (references.size() > 1) frames.back() = stretched(references[1]);
    return {frames};
  }
  std::vector<EncodedFrames> EncodedSizes(const DenoisingJob& job) const override {
    if (job.references.empty()) return {};
    return {{job.size, experts_.expand_timesteps ? 1 : job.frames}};
  }
  Tensor PackReference(const Tensor& latents, const LatentStatistics& statistics) const override {
    Tensor packed = latents.Clone();
    ForChannels(packed, statistics,
                [](float& value, float mean, float deviation) { value = (value - mean) / deviation; });
    return packed;
  }

  Shape NoiseShape(const DenoisingJob& job) const override {
    const Shape latents = LatentShape(job);
    return {1, latents[0], latents[1], latents[2], latents[3]};
  }
  DType NoiseType(const DenoisingJob&) const override { return DType::kF32; }
  Tensor PackNoise(const Tensor& noise) const override {
    return noise.Reshape({noise.dim(1), noise.dim(2), noise.dim(3), noise.dim(4)}).Clone();
  }
  Tensor Unpack(const Tensor& latents, const DenoisingJob&, const LatentStatistics& statistics) const override {
    Tensor unpacked = latents.Clone();
    ForChannels(unpacked, statistics,
                [](float& value, float mean, float deviation) { value = value * deviation + mean; });
    return unpacked;
  }

  std::unique_ptr<Scheduler> MakeScheduler(const DenoisingJob& job) const override {
    if (const auto* unipc = std::get_if<UniPcConfig>(&scheduler_)) return MakeUniPc(*unipc, job.steps);
    return MakeFlowMatchEuler(MakeDefaultFlowMatchSchedule(std::get<FlowMatchEulerConfig>(scheduler_), job.steps));
  }

  std::vector<SiteProblem> DenoiserSites(const DenoisingJob& job) const override {
    std::vector<SiteProblem> sites;
    for (int expert = 0; expert < (experts_.second ? 2 : 1); ++expert) {
      const auto more = WanSites(experts_.Of(expert), SequenceOf(experts_, expert, job, LatentShape(job)));
      sites.insert(sites.end(), more.begin(), more.end());
    }
    return sites;
  }

  Cost StepCost(const DenoisingJob& job) const override {
    const WanSequence sequence = SequenceOf(experts_, 0, job, LatentShape(job));
    Cost cost = WanCost(experts_.first, sequence);
    cost.workspace_bytes =
        std::max(cost.workspace_bytes, WanConditioningCost(experts_.first, sequence).workspace_bytes);
    if (IsGuided(job.guidance_scale)) {
      cost.linear_flops *= 2;
      cost.attention_flops *= 2;
    }
    return cost;
  }

  std::vector<std::string> DenoiserComponents() const override {
    if (experts_.second) return {"transformer", "transformer_2"};
    return {"transformer"};
  }
  std::unique_ptr<DenoisingModel> LoadDenoiser(const ModelFolder& folder, DType) const override {
    return std::make_unique<WanModel>(experts_, folder, *autoencoder_);
  }

 private:
  int64_t cell() const {
    return autoencoder_->spatial_factor() * std::max(experts_.first.patch_h, experts_.first.patch_w);
  }
  double TrainTimesteps() const {
    if (const auto* unipc = std::get_if<UniPcConfig>(&scheduler_))
      return static_cast<double>(unipc->num_train_timesteps);
    return static_cast<double>(std::get<FlowMatchEulerConfig>(scheduler_).num_train_timesteps);
  }
  Shape LatentShape(const DenoisingJob& job) const {
    const int64_t factor = autoencoder_->spatial_factor();
    return {autoencoder_->latent_channels(), (job.frames - 1) / experts_.temporal_factor + 1, job.size.height / factor,
            job.size.width / factor};
  }

  template <class Body>
  static void ForChannels(Tensor& latents, const LatentStatistics& statistics, const Body& body) {
    const int64_t plane = latents.numel() / latents.dim(0);
    float* value = latents.mutable_data<float>();
    for (int64_t i = 0; i < latents.numel(); ++i) {
      body(value[i], statistics.mean.data<float>()[i / plane], statistics.deviation.data<float>()[i / plane]);
    }
  }

  void CheckConsistency(const ModelFolder& folder, const WanTransformerConfig& config) const {
    const auto refuse = [&](ErrorKind kind, const std::string& why) {
      throw Error(kind, fmt::format("model '{}': {}", Printable(folder.name()), why));
    };
    const int64_t latent = autoencoder_->latent_channels();
    const bool conditioned = from_pictures_ && !experts_.expand_timesteps;
    const int64_t wanted = conditioned ? 2 * latent + experts_.temporal_factor : latent;
    if (config.in_channels != wanted || config.out_channels != latent) {
      refuse(ErrorKind::kFormat,
             fmt::format("the transformer takes {} and gives {} channels, but {} latent channels of "
                         "the vae need {} and {}",
                         config.in_channels, config.out_channels, latent, wanted, latent));
    }
    if (config.text_dim != text_encoder_->hidden_size()) {
      refuse(ErrorKind::kFormat, fmt::format("the transformer's text_dim {} is not the text encoder's width {}",
                                             config.text_dim, text_encoder_->hidden_size()));
    }
    if (config.patch_t != 1) {
      refuse(ErrorKind::kUnsupported,
             fmt::format("patches of {} latent frames are not supported; 1 is", config.patch_t));
    }
    if (config.image_dim != experts_.first.image_dim || config.pos_embed_seq_len != experts_.first.pos_embed_seq_len) {
      refuse(ErrorKind::kUnsupported,
             "its two transformers read different rows of pictures (image_dim, "
             "pos_embed_seq_len); both must read the same");
    }
    if (vision_encoder_ == nullptr) return;
    if (*config.image_dim != vision_encoder_->width()) {
      refuse(ErrorKind::kFormat, fmt::format("the transformer's image_dim {} is not the image encoder's width {}",
                                             *config.image_dim, vision_encoder_->width()));
    }
    if (config.pos_embed_seq_len.value_or(2 * experts_.picture_rows) != 2 * experts_.picture_rows) {
      refuse(ErrorKind::kFormat,
             fmt::format("the transformer's pos_embed_seq_len {} is not twice the image encoder's {} rows",
                         *config.pos_embed_seq_len, experts_.picture_rows));
    }
  }

  void ReadVisionEncoder(const ModelFolder& folder) {
    if (!from_pictures_ || experts_.expand_timesteps) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("model '{}': a transformer with an image_dim works in a WanImageToVideoPipeline without "
                              "expand_timesteps only",
                              Printable(folder.name())));
    }
    const Config preprocessor = Config::FromFile(folder.path() / "image_processor" / "preprocessor_config.json");
    vision_encoder_ = ParseComponent(folder, "image_encoder", FindVisionEncoder, preprocessor);
    experts_.picture_rows = vision_encoder_->tokens();
  }

  Config index_;
  bool from_pictures_;
  std::unique_ptr<TextEncoderSpec> text_encoder_;
  std::unique_ptr<AutoencoderSpec> autoencoder_;
  std::unique_ptr<VisionEncoderSpec> vision_encoder_;  // null: pictures are read by the autoencoder alone
  SchedulerConfig scheduler_;
  Experts experts_;
};

std::unique_ptr<ModelFamily> Open(const ModelFolder& folder) { return std::make_unique<WanFamily>(folder); }

}  // namespace

extern const ModelFamilyEntry wan_family;
const ModelFamilyEntry wan_family = {"WanPipeline WanImageToVideoPipeline", Open};

}  // namespace tessera
