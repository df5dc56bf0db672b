// What the pipelines of the Wan models share: components, sizes, text, latents. Pipelines differ in their schedulers
// and in how they denoise: one file in models/families/ each.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "models/wan_denoiser.h"

namespace tessera {

class WanFamily : public ModelFamily {
 public:
  GenerationDefaults Defaults() const override;
  std::optional<std::string> WhyNoReferences() const override;
  size_t FewestReferences() const override;
  size_t MostReferences() const override;
  PictureSize DefaultSize(std::span<const PictureSize> references) const override;
  PictureSize RoundSize(PictureSize asked) const override;
  int64_t RoundFrames(int64_t asked) const override;
  bool IsGuided(double guidance_scale) const override { return !is_distilled_ && guidance_scale > 1.0; }

  std::vector<TextTask> TextTasks(const std::string& prompt, int64_t max_sequence_length) const override;
  void FinishPrompt(PromptEmbeds& prompt) const override;
  const TextEncoderSpec& text_encoder() const override { return *text_encoder_; }
  const AutoencoderSpec& autoencoder() const override { return *autoencoder_; }
  const VisionEncoderSpec* vision_encoder() const override { return vision_encoder_.get(); }

  Picture PrepareReference(const Picture& picture) const override;
  std::vector<std::vector<Tensor>> FramesToEncode(std::span<const Picture> references,
                                                  const DenoisingJob& job) const override;
  std::vector<EncodedFrames> EncodedSizes(const DenoisingJob& job) const override;
  Tensor PackReference(const Tensor& latents, const LatentStatistics& statistics) const override;

  Shape NoiseShape(const DenoisingJob& job) const override;
  DType NoiseType(const DenoisingJob&) const override { return DType::kF32; }
  Tensor PackNoise(const Tensor& noise) const override;
  Tensor Unpack(const Tensor& latents, const DenoisingJob& job, const LatentStatistics& statistics) const override;

  std::vector<SiteProblem> DenoiserSites(const DenoisingJob& job) const override;
  Cost StepCost(const DenoisingJob& job) const override;
  std::vector<std::string> DenoiserComponents() const override;
  // `folder` outlives the denoiser.
  virtual std::unique_ptr<Denoiser> MakeDenoiser(const ModelFolder& folder, const DenoisingJob& job,
                                                 Conditioning conditioning) const;
  std::unique_ptr<DenoisingModel> LoadDenoiser(const ModelFolder& folder, DType compute) const override;

  const WanExperts& experts() const noexcept { return experts_; }
  Shape LatentShape(const DenoisingJob& job) const;  // [channels, frames, height, width]

 protected:
  enum class Reads { kPrompts, kPictures };    // what films are made from
  enum class Guidance { kAsked, kDistilled };  // distilled models run without
  // `train_timesteps`: the scheduler's, of which boundary_ratio is a share. Throws Error for components that do not fit
  // together.
  WanFamily(const ModelFolder& folder, Reads reads, Guidance guidance, double train_timesteps);

  // The first transformer takes condition channels behind the latents.
  static bool TakesCondition(const ModelFolder& folder);

 private:
  int64_t cell() const;
  void CheckConsistency(const ModelFolder& folder, const WanTransformerConfig& config) const;
  void ReadVisionEncoder(const ModelFolder& folder);
  void ReadSecond(const ModelFolder& folder, double train_timesteps);

  Config index_;
  bool from_pictures_, is_distilled_;
  std::unique_ptr<TextEncoderSpec> text_encoder_;
  std::unique_ptr<AutoencoderSpec> autoencoder_;
  std::unique_ptr<VisionEncoderSpec> vision_encoder_;  // null: pictures are read by the autoencoder alone
  WanExperts experts_;
};

}  // namespace tessera
