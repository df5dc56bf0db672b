#include <algorithm>
#include <cmath>

#include "parallel/parallel_for.h"
#include "pipeline/resource_plan.h"
#include "pipeline/stage.h"

namespace tessera {
namespace {

// [h, w, 3] in -1..1 to bytes as diffusers' image processor does: (x / 2 + 0.5) clamped, times 255, rounded half to
// even.
Picture ToPicture(const Tensor& pixels) {
  Picture picture{pixels.dim(0), pixels.dim(1), {}};
  picture.rgb.resize(static_cast<size_t>(pixels.numel()));
  const float* value = pixels.data<float>();
  ParallelFor(pixels.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float unit = std::clamp(value[i] * 0.5f + 0.5f, 0.0f, 1.0f);
      picture.rgb[static_cast<size_t>(i)] = static_cast<uint8_t>(std::nearbyint(unit * 255.0f));
    }
  });
  return picture;
}

class Decoding final : public PictureStage {
 public:
  std::string_view name() const noexcept override { return "DecodingStage"; }

  void Run(RunState& run, PictureState& picture) override {
    run.progress.Begin({"decoding", "frame", run.job.frames});
    Load(run);
    ForwardContext context = run.forward();
    const Tensor latents = run.family->Unpack(picture.latents, run.job, run.statistics);
    run.decoder->Decode(latents, context, [&](const Tensor& frame) {
      picture.take_frame(ToPicture(frame));
      run.progress.Advance();
    });
    run.attention.CheckRuns();
    run.progress.Finish();
    run.report.AddMemory(std::string(name()));
    if (run.pictures_left == 0 && !run.request.keep_loaded.vae.value_or(false)) run.decoder.reset();
  }

 private:
  static void Load(RunState& run) {
    const TraceScope trace(run.trace.get(), LoadLabel("vae"));
    const auto& autoencoder = run.family->autoencoder();
    const AutoencoderJob job = DecoderJob(run);
    const auto sites = autoencoder.Sites(job);
    if (run.decoder == nullptr) {
      run.decoder = autoencoder.Load(run.folder.Weights("vae"), job);
    }
    // Denoising and decoding of further pictures take turns in one workspace that fits the larger.
    run.workspace.Reserve(autoencoder.CostOf(job).workspace_bytes + run.attention.WorkspaceBytes(sites));
  }
};

}  // namespace

std::unique_ptr<PictureStage> DecodingStage() { return std::make_unique<Decoding>(); }

}  // namespace tessera
