#include "pipeline/resource_plan.h"
#include "pipeline/stage.h"

namespace tessera {
namespace {

// Bytes to -1..1, [h, w, 3].
Tensor ToPixels(const Picture& picture) {
  Tensor pixels = Tensor::Empty({picture.height, picture.width, 3}, DType::kF32);
  float* value = pixels.mutable_data<float>();
  for (size_t i = 0; i < picture.rgb.size(); ++i) value[i] = static_cast<float>(picture.rgb[i]) / 255.0f * 2.0f - 1.0f;
  return pixels;
}

class ImageVAEEncoding final : public Stage {
 public:
  std::string_view name() const noexcept override { return "ImageVAEEncodingStage"; }

  void Run(RunState& run) override {
    run.statistics = run.family->autoencoder().Statistics(run.folder.Weights("vae"));
    if (run.references.empty()) return;
    run.progress.Begin("image encoding", static_cast<int64_t>(run.references.size()));
    for (const Picture& reference : run.references) {
      run.reference_rows.push_back(EncodeReference(run, reference));
      run.progress.Advance();
    }
    run.progress.Finish();
    run.report.AddMemory(std::string(name()));
  }

 private:
  static Tensor EncodeReference(RunState& run, const Picture& reference) {
    const auto& spec = run.family->autoencoder();
    const AutoencoderJob job = EncoderJob(run, {reference.height, reference.width});
    const auto sites = spec.Sites(job);
    const auto encoder = spec.Load(run.folder.Weights("vae"), job);
    run.workspace.Reserve(spec.CostOf(job).workspace_bytes + run.attention.WorkspaceBytes(sites));
    ForwardContext context = run.forward();
    const Tensor pixels = ToPixels(reference);
    const Tensor latents = encoder->Encode({&pixels, 1}, context);
    run.attention.CheckRuns();
    run.workspace.Release();
    const Shape plane{latents.dim(0), latents.dim(2), latents.dim(3)};
    return run.family->PackReference(latents.Reshape(plane), run.statistics);
  }
};

}  // namespace

std::unique_ptr<Stage> ImageVAEEncodingStage() { return std::make_unique<ImageVAEEncoding>(); }

}  // namespace tessera
