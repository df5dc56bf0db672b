#include <cmath>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/error.h"
#include "pipeline/stage.h"

namespace tessera {
namespace {

bool AllFinite(const Tensor& values) {
  const float* value = values.data<float>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    if (!std::isfinite(value[i])) return false;
  }
  return true;
}

class Denoising final : public PictureStage {
 public:
  std::string_view name() const noexcept override { return "DenoisingStage"; }

  void Run(RunState& run, PictureState& picture) override {
    Load(run);
    const auto denoiser = run.denoiser->Condition(
        run.job, {run.prompts[picture.prompt].embeds, run.negative_prompt, run.reference_rows, run.image_embeds});
    const size_t steps = picture.scheduler->timesteps().size();
    run.progress.Begin({"denoising", "step", static_cast<int64_t>(steps)});
    BeginAttention(run, picture);
    for (size_t i = 0; i < steps; ++i) RunStep(run, picture, *denoiser, static_cast<int>(i));
    denoiser->Finish(picture.latents);
    run.progress.Finish();
    run.report.AddMemory(std::string(name()));
    if (run.pictures_left == 0 && !run.request.keep_loaded.dit.value_or(false)) run.denoiser.reset();
  }

 private:
  static void BeginAttention(RunState& run, const PictureState& picture) {
    const auto timesteps = picture.scheduler->timesteps();
    run.attention.BeginDenoising({.steps = static_cast<int>(timesteps.size()),
                                  .passes = run.guided() ? 2 : 1,
                                  .timesteps = {timesteps.begin(), timesteps.end()},
                                  .seed = picture.seed});
  }

  static void Load(RunState& run) {
    if (run.denoiser != nullptr) return;
    run.progress.Begin({"loading", "model", 1});
    const auto sites = run.family->DenoiserSites(run.job);
    run.denoiser = run.family->LoadDenoiser(run.folder, run.job.compute);
    run.workspace.Reserve(run.family->StepCost(run.job).workspace_bytes + run.attention.WorkspaceBytes(sites));
    run.progress.Finish();
  }

  static void RunStep(RunState& run, PictureState& picture, Denoiser& denoiser, int step) {
    const double begin = SecondsNow();
    run.attention.BeginStep(step);
    ForwardContext context = run.forward();
    const float timestep = picture.scheduler->timesteps()[static_cast<size_t>(step)];
    denoiser.BeginStep(timestep, context);
    Tensor prediction = Tensor::Empty(picture.latents.shape(), DType::kF32);
    denoiser.Predict(picture.latents, timestep, context, prediction);
    run.attention.CheckRuns();
    if (!AllFinite(prediction)) {
      throw Error(
          ErrorKind::kUnsupported,
          fmt::format("denoising step {}: the transformer's prediction has values that are not finite; the weights "
                      "may be damaged, or --dit-precision fp32 may be needed",
                      step + 1));
    }
    const bool keep = !run.request.save_latents.empty();
    if (keep && step == 0) picture.first_prediction = denoiser.RawPrediction();
    picture.scheduler->Step(step, prediction, picture.latents);
    if (keep) picture.latents_per_step.push_back(picture.latents.To(DType::kF32));
    run.report.AddStep(SecondsNow() - begin);
    run.progress.Advance();
  }
};

}  // namespace

std::unique_ptr<PictureStage> DenoisingStage() { return std::make_unique<Denoising>(); }

}  // namespace tessera
