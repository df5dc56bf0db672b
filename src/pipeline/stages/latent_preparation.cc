#include "pipeline/stage.h"

namespace tessera {
namespace {

class LatentPreparation final : public PictureStage {
 public:
  std::string_view name() const noexcept override { return "LatentPreparationStage"; }
  void Run(RunState& run, PictureState& picture) override {
    picture.generator = TorchGenerator(picture.seed);
    picture.noise = picture.generator.Randn(run.family->NoiseShape(run.job), run.family->NoiseType(run.job));
    picture.latents = run.family->PackNoise(picture.noise);
  }
};

}  // namespace

std::unique_ptr<PictureStage> LatentPreparationStage() { return std::make_unique<LatentPreparation>(); }

}  // namespace tessera
