#include "models/wan_family.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "models/component_parsing.h"
#include "text/prompt_cleaning.h"

namespace tessera {
namespace {

constexpr int64_t kLargestSide = 16384;
constexpr int64_t kMostFrames = 1 << 16;

WanTransformerConfig ReadTransformer(const ModelFolder& folder, const std::string& component) {
  WanTransformerConfig config = WanTransformerConfig::From(folder.ComponentConfig(component));
  config.to_gate_compress = HasWanGates(folder.Weights(component));
  return config;
}

template <class Body>
void ForChannels(Tensor& latents, const LatentStatistics& statistics, const Body& body) {
  const int64_t plane = latents.numel() / latents.dim(0);
  float* value = latents.mutable_data<float>();
  for (int64_t i = 0; i < latents.numel(); ++i) {
    body(value[i], statistics.mean.data<float>()[i / plane], statistics.deviation.data<float>()[i / plane]);
  }
}

class WanModel final : public DenoisingModel {
 public:
  WanModel(const WanFamily& family, const ModelFolder& folder) : family_(family), folder_(folder) {}
  std::unique_ptr<Denoiser> Condition(const DenoisingJob& job, Conditioning conditioning) const override {
    return family_.MakeDenoiser(folder_, job, std::move(conditioning));
  }

 private:
  const WanFamily& family_;
  const ModelFolder& folder_;
};

}  // namespace

WanFamily::WanFamily(const ModelFolder& folder, Reads reads, Guidance guidance, double train_timesteps)
    : index_(folder.index()),
      from_pictures_(reads == Reads::kPictures),
      is_distilled_(guidance == Guidance::kDistilled),
      text_encoder_(ParseComponent(folder, "text_encoder", FindTextEncoder)),
      autoencoder_(ParseComponent(folder, "vae", FindAutoencoder)) {
  experts_.first = ReadTransformer(folder, "transformer");
  experts_.expand_timesteps = index_.Bool("expand_timesteps", false);
  experts_.temporal_factor = autoencoder_->temporal_factor();
  if (experts_.first.image_dim) ReadVisionEncoder(folder);
  CheckConsistency(folder, experts_.first);
  if (!folder.component("transformer_2").value_or(ComponentEntry{}).class_name.empty()) {
    ReadSecond(folder, train_timesteps);
  }
}

void WanFamily::ReadSecond(const ModelFolder& folder, double train_timesteps) {
  experts_.second = ReadTransformer(folder, "transformer_2");
  experts_.boundary = index_.Float("boundary_ratio", 0.0) * train_timesteps;
  if (!(experts_.boundary > 0)) {
    throw Error(ErrorKind::kFormat, fmt::format("model '{}': model_index.json names a transformer_2, but no "
                                                "boundary_ratio says when it is used",
                                                Printable(folder.name())));
  }
  CheckConsistency(folder, *experts_.second);
}

bool WanFamily::TakesCondition(const ModelFolder& folder) {
  const WanTransformerConfig config = WanTransformerConfig::From(folder.ComponentConfig("transformer"));
  return config.in_channels > config.out_channels;
}

GenerationDefaults WanFamily::Defaults() const {
  GenerationDefaults defaults;
  const bool large = experts_.expand_timesteps;
  defaults.size = {large ? 704 : 480, large ? 1280 : 832};
  defaults.frames = large ? 121 : 81;
  defaults.fps = large ? 24 : 16;
  defaults.steps = experts_.second ? 40 : 50;
  defaults.guidance_scale = experts_.second ? (from_pictures_ ? 3.5 : 4.0) : 5.0;
  if (experts_.second) defaults.guidance_scale_2 = from_pictures_ ? 3.5 : 3.0;
  if (is_distilled_) {
    defaults.guidance_scale = 1.0;
    defaults.guidance_scale_2 = std::nullopt;
  }
  defaults.max_sequence_length = index_.Int("max_sequence_length", 512, 1, 1 << 20);
  return defaults;
}

std::optional<std::string> WanFamily::WhyNoReferences() const {
  if (from_pictures_ || experts_.expand_timesteps) return std::nullopt;
  return "this checkpoint makes films from prompts alone (WanPipeline)";
}
// Learned positions are those of two pictures' rows; without them one picture's are read.
size_t WanFamily::FewestReferences() const {
  if (vision_encoder_ != nullptr) return MostReferences();
  return from_pictures_ && !experts_.expand_timesteps ? 1 : 0;
}
size_t WanFamily::MostReferences() const {
  if (vision_encoder_ != nullptr) return experts_.first.pos_embed_seq_len ? 2 : 1;
  return experts_.expand_timesteps ? 1 : 2;
}

// The model's own number of pixels in the picture's shape.
PictureSize WanFamily::DefaultSize(std::span<const PictureSize> references) const {
  const PictureSize own = Defaults().size;
  if (references.empty()) return own;
  const auto area = static_cast<double>(own.height * own.width);
  const double aspect = static_cast<double>(references[0].height) / static_cast<double>(references[0].width);
  return {std::max(cell(), static_cast<int64_t>(std::nearbyint(std::sqrt(area * aspect))) / cell() * cell()),
          std::max(cell(), static_cast<int64_t>(std::nearbyint(std::sqrt(area / aspect))) / cell() * cell())};
}

PictureSize WanFamily::RoundSize(PictureSize asked) const {
  const PictureSize size{asked.height / cell() * cell(), asked.width / cell() * cell()};
  if (size.height < cell() || size.width < cell() || asked.height > kLargestSide || asked.width > kLargestSide) {
    throw Error(ErrorKind::kUsage, fmt::format("size {}x{} (width x height): each side must be {} to {} pixels",
                                               asked.width, asked.height, cell(), kLargestSide));
  }
  return size;
}

int64_t WanFamily::RoundFrames(int64_t asked) const {
  if (asked < 1 || asked > kMostFrames) {
    throw Error(ErrorKind::kUsage, fmt::format("--num-frames {}: 1 to {} frames are possible", asked, kMostFrames));
  }
  const int64_t factor = experts_.temporal_factor;
  return asked % factor == 1 ? asked : std::max<int64_t>(1, asked / factor * factor + 1);
}

std::vector<TextTask> WanFamily::TextTasks(const std::string& prompt, int64_t max_sequence_length) const {
  TextTask task;
  task.text = CleanPrompt(prompt);
  task.job = {{text_encoder_->num_layers()}, max_sequence_length, DType::kF32};
  return {task};
}
// Padding is zeros.
void WanFamily::FinishPrompt(PromptEmbeds& prompt) const {
  Tensor padding = prompt.rows.Narrow(0, prompt.valid, prompt.rows.dim(0) - prompt.valid);
  if (padding.numel() > 0) std::memset(padding.mutable_raw(), 0, padding.bytes());
}

Picture WanFamily::PrepareReference(const Picture& picture) const {
  // Throws for a picture that the encoder could not take later.
  if (vision_encoder_ != nullptr) static_cast<void>(vision_encoder_->Pixels(picture));
  return picture;
}

// One film: the given pictures at its ends, grey between them; with a timestep per token the first picture alone.
std::vector<std::vector<Tensor>> WanFamily::FramesToEncode(std::span<const Picture> references,
                                                           const DenoisingJob& job) const {
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
std::vector<ModelFamily::EncodedFrames> WanFamily::EncodedSizes(const DenoisingJob& job) const {
  if (job.references.empty()) return {};
  return {{job.size, experts_.expand_timesteps ? 1 : job.frames}};
}
Tensor WanFamily::PackReference(const Tensor& latents, const LatentStatistics& statistics) const {
  Tensor packed = latents.Clone();
  ForChannels(packed, statistics,
              [](float& value, float mean, float deviation) { value = (value - mean) / deviation; });
  return packed;
}

Shape WanFamily::NoiseShape(const DenoisingJob& job) const {
  const Shape latents = LatentShape(job);
  return {1, latents[0], latents[1], latents[2], latents[3]};
}
Tensor WanFamily::PackNoise(const Tensor& noise) const {
  return noise.Reshape({noise.dim(1), noise.dim(2), noise.dim(3), noise.dim(4)}).Clone();
}
Tensor WanFamily::Unpack(const Tensor& latents, const DenoisingJob&, const LatentStatistics& statistics) const {
  Tensor unpacked = latents.Clone();
  ForChannels(unpacked, statistics,
              [](float& value, float mean, float deviation) { value = value * deviation + mean; });
  return unpacked;
}

std::vector<SiteProblem> WanFamily::DenoiserSites(const DenoisingJob& job) const {
  std::vector<SiteProblem> sites;
  for (int expert = 0; expert < experts_.count(); ++expert) {
    const auto more = WanSites(experts_.Of(expert), WanSequenceOf(experts_, expert, job, LatentShape(job)));
    sites.insert(sites.end(), more.begin(), more.end());
  }
  return sites;
}

Cost WanFamily::StepCost(const DenoisingJob& job) const {
  const WanSequence sequence = WanSequenceOf(experts_, 0, job, LatentShape(job));
  Cost cost = WanCost(experts_.first, sequence);
  cost.workspace_bytes = std::max(cost.workspace_bytes, WanConditioningCost(experts_.first, sequence).workspace_bytes);
  if (IsGuided(job.guidance_scale)) {
    cost.linear_flops *= 2;
    cost.attention_flops *= 2;
  }
  return cost;
}

std::vector<std::string> WanFamily::DenoiserComponents() const {
  if (experts_.second) return {"transformer", "transformer_2"};
  return {"transformer"};
}
std::unique_ptr<Denoiser> WanFamily::MakeDenoiser(const ModelFolder& folder, const DenoisingJob& job,
                                                  Conditioning conditioning) const {
  return MakeWanDenoiser(experts_, folder, job, std::move(conditioning), LatentShape(job));
}
std::unique_ptr<DenoisingModel> WanFamily::LoadDenoiser(const ModelFolder& folder, DType) const {
  return std::make_unique<WanModel>(*this, folder);
}

int64_t WanFamily::cell() const {
  return autoencoder_->spatial_factor() * std::max(experts_.first.patch_h, experts_.first.patch_w);
}
Shape WanFamily::LatentShape(const DenoisingJob& job) const {
  const int64_t factor = autoencoder_->spatial_factor();
  return {autoencoder_->latent_channels(), (job.frames - 1) / experts_.temporal_factor + 1, job.size.height / factor,
          job.size.width / factor};
}

void WanFamily::CheckConsistency(const ModelFolder& folder, const WanTransformerConfig& config) const {
  const auto refuse = [&](ErrorKind kind, const std::string& why) {
    throw Error(kind, fmt::format("model '{}': {}", Printable(folder.name()), why));
  };
  const int64_t latent = autoencoder_->latent_channels();
  const bool conditioned = from_pictures_ && !experts_.expand_timesteps;
  const int64_t wanted = conditioned ? 2 * latent + experts_.temporal_factor : latent;
  if (config.in_channels != wanted || config.out_channels != latent) {
    refuse(ErrorKind::kFormat, fmt::format("the transformer takes {} and gives {} channels, but {} latent channels of "
                                           "the vae need {} and {}",
                                           config.in_channels, config.out_channels, latent, wanted, latent));
  }
  if (config.text_dim != text_encoder_->hidden_size()) {
    refuse(ErrorKind::kFormat, fmt::format("the transformer's text_dim {} is not the text encoder's width {}",
                                           config.text_dim, text_encoder_->hidden_size()));
  }
  if (config.patch_t != 1) {
    refuse(ErrorKind::kUnsupported, fmt::format("patches of {} latent frames are not supported; 1 is", config.patch_t));
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

void WanFamily::ReadVisionEncoder(const ModelFolder& folder) {
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

}  // namespace tessera
