// A model family: how a pipeline class of model_index.json turns a request into latents and back. One file in
// models/families/ and one line there.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "media/picture.h"
#include "models/autoencoder.h"
#include "models/forward_context.h"
#include "models/text_encoder.h"
#include "schedulers/scheduler.h"
#include "weights/model_folder.h"

namespace tessera {

struct PictureSize {
  int64_t height = 0, width = 0;  // pixels
  bool operator==(const PictureSize&) const = default;
};

// What a request gets when it does not say.
struct GenerationDefaults {
  PictureSize size{1024, 1024};
  int steps = 50;
  double guidance_scale = 1.0;
  int64_t max_sequence_length = 512;
};

// One picture to be made, everything resolved.
struct DenoisingJob {
  PictureSize size;
  int steps = 0;
  double guidance_scale = 1.0;
  int64_t text_tokens = 0;              // padded prompt length
  std::vector<PictureSize> references;  // after PrepareReference
  DType compute = DType::kF32;          // of the denoiser; also the type of the noise
};

// A prompt as one encoder gets it.
struct TextTask {
  std::string component = "text_encoder", tokenizer = "tokenizer";
  std::string text;  // rendered by the chat template
  TextEncoderJob job;
};

struct Conditioning {
  Tensor prompt_embeds;            // [tokens, channels] of the compute type
  Tensor negative_prompt_embeds;   // undefined without guidance
  std::vector<Tensor> references;  // packed rows [tokens, channels] f32
};

// The denoiser with one picture's conditioning.
class Denoiser {
 public:
  virtual ~Denoiser() = default;
  // Guided prediction for latents [tokens, channels], f32 of the same shape.
  virtual void Predict(const Tensor& latents, float timestep, ForwardContext& context, Tensor& prediction) noexcept = 0;
  // The raw output of the last conditional pass, reference rows included.
  virtual Tensor RawPrediction() const = 0;
};

// The loaded denoising network.
class DenoisingModel {
 public:
  virtual ~DenoisingModel() = default;
  virtual std::unique_ptr<Denoiser> Condition(const DenoisingJob& job, Conditioning conditioning) const = 0;
};

// Everything here works from configuration files alone, except LoadDenoiser.
class ModelFamily {
 public:
  virtual ~ModelFamily() = default;
  virtual GenerationDefaults Defaults() const = 0;
  // Nothing when pictures are taken as references, else why not.
  virtual std::optional<std::string> WhyNoReferences() const = 0;
  // The size that will be made for an asked size (rounded as the originals do). Throws Error{kUsage}.
  virtual PictureSize RoundSize(PictureSize asked) const = 0;
  virtual bool IsGuided(double guidance_scale) const = 0;  // whether a negative prompt is encoded and used

  virtual std::vector<TextTask> TextTasks(const std::string& prompt, int64_t max_sequence_length) const = 0;
  virtual const TextEncoderSpec& text_encoder() const = 0;
  virtual const AutoencoderSpec& autoencoder() const = 0;

  // Resizes and crops a reference; throws Error{kUsage} naming sizes that cannot serve.
  virtual Picture PrepareReference(const Picture& picture) const = 0;
  virtual Tensor PackReference(const Tensor& latents, const LatentStatistics& statistics) const = 0;

  virtual Shape NoiseShape(const DenoisingJob& job) const = 0;
  virtual Tensor PackNoise(const Tensor& noise) const = 0;  // [tokens, channels] of the noise's dtype
  // Latents [tokens, channels] to what the autoencoder decodes, [latent_channels, h, w] f32.
  virtual Tensor Unpack(const Tensor& latents, const DenoisingJob& job, const LatentStatistics& statistics) const = 0;

  virtual std::unique_ptr<Scheduler> MakeScheduler(const DenoisingJob& job) const = 0;
  virtual std::vector<SiteProblem> DenoiserSites(const DenoisingJob& job) const = 0;
  virtual Cost StepCost(const DenoisingJob& job) const = 0;  // one step, guidance included
  virtual std::unique_ptr<DenoisingModel> LoadDenoiser(WeightMap weights, DType compute) const = 0;
};

struct ModelFamilyEntry {
  std::string_view pipeline_classes;  // space separated
  std::unique_ptr<ModelFamily> (*open)(const ModelFolder& folder);
};

// The family of a folder. Throws Error{kUnsupported} for an unknown pipeline class, naming the known ones.
std::unique_ptr<ModelFamily> OpenModelFamily(const ModelFolder& folder);

}  // namespace tessera
