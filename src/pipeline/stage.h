// The pipeline's stages. A stage works on the run as a whole or on one picture; its class lives in its .cc file.
#pragma once
#include <memory>
#include <string_view>

#include "pipeline/run_state.h"

namespace tessera {

class Stage {
 public:
  virtual ~Stage() = default;
  virtual std::string_view name() const noexcept = 0;
  virtual void Run(RunState& run) = 0;  // throws Error
};

class PictureStage {
 public:
  virtual ~PictureStage() = default;
  virtual std::string_view name() const noexcept = 0;
  virtual void Run(RunState& run, PictureState& picture) = 0;
};

std::unique_ptr<Stage> InputValidationStage();             // request + model -> job, references, precisions
std::unique_ptr<Stage> TextEncodingStage();                // prompts -> prompt_embeds
std::unique_ptr<Stage> ImageEncodingStage();               // references -> image_embeds
std::unique_ptr<Stage> ImageVAEEncodingStage();            // references -> reference_rows
std::unique_ptr<PictureStage> LatentPreparationStage();    // seed -> noise, latents
std::unique_ptr<PictureStage> TimestepPreparationStage();  // job -> scheduler
std::unique_ptr<PictureStage> DecodingStage();             // latents -> decoded
// latents -> latents; named as the family says
std::unique_ptr<PictureStage> DenoisingStage(const ModelFamily& family);

}  // namespace tessera
