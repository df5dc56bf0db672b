#include <fmt/format.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "pipeline/stage.h"
#include "tensor/finite.h"

namespace tessera {
namespace {

class Denoising final : public PictureStage {
 public:
  explicit Denoising(std::string_view name) : name_(name) {}
  std::string_view name() const noexcept override { return name_; }

  void Run(RunState& run, PictureState& picture) override {
    Load(run);
    const auto denoiser = run.denoiser->Condition(
        run.job, {run.prompts[picture.prompt].embeds, run.negative_prompt, run.reference_rows, run.image_embeds});
    const size_t steps = picture.scheduler->timesteps().size();
    BeginAttention(run, picture);
    const int first = FirstStep(run, picture, *denoiser);
    run.progress.Begin({"denoising", "step", static_cast<int64_t>(steps), first});
    for (int i = first; i < static_cast<int>(steps); ++i) RunStep(run, picture, *denoiser, i);
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
    const TraceScope trace(run.trace.get(), LoadLabel("transformer"));
    run.progress.Begin({"loading", "model", 1});
    const auto sites = run.family->DenoiserSites(run.job);
    run.denoiser = run.family->LoadDenoiser(run.folder, run.job.compute);
    run.workspace.Reserve(run.family->StepCost(run.job).workspace_bytes + run.attention.WorkspaceBytes(sites));
    run.progress.Finish();
  }

  static int FirstStep(RunState& run, PictureState& picture, Denoiser& denoiser) {
    if (!picture.resume) return 0;
    try {
      Resume(run, picture, denoiser);
    } catch (const Error& error) {
      throw Error(error.kind(), fmt::format("--resume {}: {}", Printable(run.request.resume), error.what()));
    }
    const int step = picture.resume->step;
    picture.resume.reset();
    return step;
  }

  static void Resume(RunState& run, PictureState& picture, Denoiser& denoiser) {
    const auto& [step, state] = *picture.resume;
    picture.latents = state.Get("latents", picture.latents.shape(), picture.latents.dtype()).Clone();
    picture.scheduler->Restore(step, picture.latents, state.Part("scheduler"));
    run.attention.RestoreLearnt(state.Part("attention"));
    ForwardContext context = run.forward();
    denoiser.Restore(step, picture.latents, state.Part("denoiser"), context);
    RestoreKept(run, picture);
  }

  // For --save-latents.
  static void RestoreKept(const RunState& run, PictureState& picture) {
    const auto& [step, state] = *picture.resume;
    if (run.request.save_latents.empty() || step == 0) return;
    for (int i = 0; i < step; ++i) {
      const Tensor& kept = state.Get(fmt::format("latents_{}", i), picture.latents.shape(), DType::kF32);
      picture.latents_per_step.push_back(kept.Clone());
    }
    picture.first_prediction = state.Get("first_prediction").Clone();
  }

  static TensorState StateOf(const RunState& run, const PictureState& picture, const Denoiser& denoiser) {
    TensorState state;
    state.Add("latents", picture.latents);
    state.AddPart("scheduler", picture.scheduler->State());
    state.AddPart("denoiser", denoiser.State());
    state.AddPart("attention", run.attention.Learnt());
    for (size_t i = 0; i < picture.latents_per_step.size(); ++i) {
      state.Add(fmt::format("latents_{}", i), picture.latents_per_step[i]);
    }
    if (picture.first_prediction.defined()) state.Add("first_prediction", picture.first_prediction);
    return state;
  }

  // Where this step's prediction leads; undefined when nobody asks.
  static Tensor Estimate(const RunState& run, const PictureState& picture, int step, const Tensor& prediction) {
    const bool asked = picture.take_estimate && (step + 1) % run.request.preview_every == 0;
    return asked ? picture.scheduler->EstimateClean(step, prediction, picture.latents) : Tensor();
  }

  static void RunStep(RunState& run, PictureState& picture, Denoiser& denoiser, int step) {
    const double begin = SecondsNow();
    const TraceScope trace(run.trace.get(), {.kind = TraceKind::kStep, .name = "step", .index = step});
    run.attention.BeginStep(step);
    ForwardContext context = run.forward();
    const float timestep = picture.scheduler->timesteps()[static_cast<size_t>(step)];
    denoiser.BeginStep(step, timestep, context);
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
    Tensor clean = Estimate(run, picture, step, prediction);
    picture.scheduler->Step(step, prediction, picture.latents);
    if (keep) picture.latents_per_step.push_back(picture.latents.To(DType::kF32));
    run.report.AddStep(SecondsNow() - begin);
    run.progress.Advance();
    if (picture.take_state) picture.take_state(step + 1, StateOf(run, picture, denoiser));
    if (clean.defined()) {
      denoiser.Finish(clean);
      picture.take_estimate(step + 1, clean);
    }
    if (run.watch_step) run.watch_step(step + 1);
  }

  const std::string_view name_;
};

}  // namespace

std::unique_ptr<PictureStage> DenoisingStage(const ModelFamily& family) {
  return std::make_unique<Denoising>(family.DenoisingStageName());
}

}  // namespace tessera
