// A model family: how a pipeline class of model_index.json turns a request into latents and back. One file in
// models/families/ and one line there.
#pragma once
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "media/picture.h"
#include "models/autoencoder.h"
#include "models/forward_context.h"
#include "models/text_encoder.h"
#include "models/vision_encoder.h"
#include "schedulers/scheduler.h"
#include "tensor/random.h"
#include "tensor/tensor_state.h"
#include "weights/model_folder.h"

namespace tessera {

// What a request gets when it does not say.
struct GenerationDefaults {
  PictureSize size{1024, 1024};
  int steps = 50;
  double guidance_scale = 1.0;
  int64_t max_sequence_length = 512;
  int64_t frames = 1;  // more than 1: the family makes films
  double fps = 16;
  std::optional<double> guidance_scale_2;  // of the second expert; absent: as the first
};

// One picture or film to be made, everything resolved.
struct DenoisingJob {
  PictureSize size;
  int steps = 0;
  double guidance_scale = 1.0;
  double guidance_scale_2 = 1.0;        // of the second expert, where there are two
  int64_t text_tokens = 0;              // padded prompt length
  std::vector<PictureSize> references;  // after PrepareReference
  DType compute = DType::kF32;          // of the denoiser
  int64_t frames = 1;
  std::vector<int64_t> timesteps = {};  // of a distilled model, falling from 1000; empty: its scheduler chooses
};

// A prompt as one encoder gets it.
struct TextTask {
  std::string component = "text_encoder", tokenizer = "tokenizer";
  std::string text;  // rendered by the chat template
  TextEncoderJob job;
};

struct PromptEmbeds {
  Tensor rows;        // [tokens, channels] of the compute type
  int64_t valid = 0;  // rows of the prompt; padding behind them
};

struct Conditioning {
  PromptEmbeds prompt;
  PromptEmbeds negative_prompt;    // rows undefined without guidance
  std::vector<Tensor> references;  // as PackReference gives them
  Tensor image_embeds;             // [references * tokens, width] f32 of the vision encoder; undefined without one
};

// The denoiser with one picture's conditioning.
class Denoiser {
 public:
  virtual ~Denoiser() = default;
  // Before every step (0 ...): may load what this timestep needs. Throws Error.
  virtual void BeginStep(int /*step*/, float /*timestep*/, ForwardContext& /*context*/) {}
  // Guided prediction for the latents, f32 of the same shape.
  virtual void Predict(const Tensor& latents, float timestep, ForwardContext& context, Tensor& prediction) noexcept = 0;
  // The raw output of the last conditional pass, reference rows included.
  virtual Tensor RawPrediction() const = 0;
  // After the last step, and for estimates of what will come out then: changes nothing but `latents`.
  virtual void Finish(Tensor& /*latents*/) noexcept {}

  // What later steps need of the steps so far beside the latents; views that the next step changes.
  virtual TensorState State() const { return {}; }
  // Before the first BeginStep: goes on with `step`, as the denoiser whose State() was taken there. What follows from
  // the latents of that step may be computed again. Throws Error.
  virtual void Restore(int step, const Tensor& latents, const TensorState& state, ForwardContext& context);
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
  // The size of a job that does not say: the model's own, or the first reference's.
  virtual PictureSize DefaultSize(std::span<const PictureSize> references) const;
  // The size that will be made for an asked size (rounded as the originals do). Throws Error{kUsage}.
  virtual PictureSize RoundSize(PictureSize asked) const = 0;
  // The same for the number of frames.
  virtual int64_t RoundFrames(int64_t asked) const;
  // How many reference pictures a job must have.
  virtual size_t FewestReferences() const { return 0; }
  virtual size_t MostReferences() const { return std::numeric_limits<size_t>::max(); }
  virtual bool IsGuided(double guidance_scale) const = 0;  // whether a negative prompt is encoded and used

  virtual std::vector<TextTask> TextTasks(const std::string& prompt, int64_t max_sequence_length) const = 0;
  virtual const TextEncoderSpec& text_encoder() const = 0;
  virtual const AutoencoderSpec& autoencoder() const = 0;
  // Reads every reference besides the autoencoder (component image_encoder); null in families without one.
  virtual const VisionEncoderSpec* vision_encoder() const { return nullptr; }

  // What the denoiser reads of an encoded prompt: rows behind `valid` may be changed.
  virtual void FinishPrompt(PromptEmbeds& /*prompt*/) const {}

  // Resizes and crops a reference; throws Error{kUsage} naming sizes that cannot serve.
  virtual Picture PrepareReference(const Picture& picture) const = 0;
  // What the autoencoder encodes: frames [height, width, 3] f32 in -1..1, one list per call of PackReference.
  virtual std::vector<std::vector<Tensor>> FramesToEncode(std::span<const Picture> references,
                                                          const DenoisingJob& job) const;
  // The sizes of these lists.
  struct EncodedFrames {
    PictureSize size;
    int64_t frames = 1;
  };
  virtual std::vector<EncodedFrames> EncodedSizes(const DenoisingJob& job) const;
  // latents [latent_channels, latent_frames, h, w].
  virtual Tensor PackReference(const Tensor& latents, const LatentStatistics& statistics) const = 0;

  virtual Shape NoiseShape(const DenoisingJob& job) const = 0;
  virtual DType NoiseType(const DenoisingJob& job) const { return job.compute; }
  virtual Tensor PackNoise(const Tensor& noise) const = 0;  // as the denoiser takes it, of the noise's dtype
  // Latents as the denoiser has them to what the autoencoder decodes, [latent_channels, latent_frames, h, w] f32.
  virtual Tensor Unpack(const Tensor& latents, const DenoisingJob& job, const LatentStatistics& statistics) const = 0;

  // The timesteps a model was distilled for; empty: it takes any number of steps.
  virtual std::vector<int64_t> DistilledTimesteps() const { return {}; }
  // What the denoising loop runs for a job of job.steps steps (more where a film is made in blocks).
  virtual int TotalSteps(const DenoisingJob& job) const { return job.steps; }
  // What reports call that loop.
  virtual std::string_view DenoisingStageName() const noexcept { return "DenoisingStage"; }
  // `generator` stands where the noise of the picture ended: schedulers that draw more go on with it.
  virtual std::unique_ptr<Scheduler> MakeScheduler(const DenoisingJob& job, const TorchGenerator& generator) const = 0;
  virtual std::vector<SiteProblem> DenoiserSites(const DenoisingJob& job) const = 0;
  virtual Cost StepCost(const DenoisingJob& job) const = 0;  // one step, guidance included
  // Components whose weights the denoiser takes, one at a time.
  virtual std::vector<std::string> DenoiserComponents() const { return {"transformer"}; }
  // `folder` outlives the model.
  virtual std::unique_ptr<DenoisingModel> LoadDenoiser(const ModelFolder& folder, DType compute) const = 0;
};

// Bytes to -1..1, [height, width, 3].
Tensor PixelsOf(const Picture& picture);

struct ModelFamilyEntry {
  std::string_view pipeline_classes;  // space separated
  std::unique_ptr<ModelFamily> (*open)(const ModelFolder& folder);
};

// The family of a folder. Throws Error{kUnsupported} for an unknown pipeline class, naming the known ones.
std::unique_ptr<ModelFamily> OpenModelFamily(const ModelFolder& folder);

}  // namespace tessera
