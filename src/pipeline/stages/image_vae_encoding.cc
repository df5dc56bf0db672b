#include "pipeline/resource_plan.h"
#include "pipeline/stage.h"

namespace tessera {
namespace {

class ImageVAEEncoding final : public Stage {
 public:
  std::string_view name() const noexcept override { return "ImageVAEEncodingStage"; }

  void Run(RunState& run) override {
    if (run.references.empty()) return;
    const auto films = run.family->FramesToEncode(run.references, run.job);
    run.progress.Begin({"image encoding", "picture", static_cast<int64_t>(films.size())});
    for (const auto& frames : films) {
      run.reference_rows.push_back(EncodeFrames(run, frames));
      run.progress.Advance();
    }
    run.progress.Finish();
    run.report.AddMemory(std::string(name()));
  }

 private:
  static Tensor EncodeFrames(RunState& run, const std::vector<Tensor>& frames) {
    const auto& spec = run.family->autoencoder();
    const AutoencoderJob job =
        EncoderJob(run, {{frames[0].dim(0), frames[0].dim(1)}, static_cast<int64_t>(frames.size())});
    const auto sites = spec.Sites(job);
    const auto encoder = spec.Load(run.folder.Weights("vae"), job);
    run.workspace.Reserve(spec.CostOf(job).workspace_bytes + run.attention.WorkspaceBytes(sites));
    ForwardContext context = run.forward();
    const Tensor latents = encoder->Encode(frames, context);
    run.attention.CheckRuns();
    run.workspace.Release();
    return run.family->PackReference(latents, run.statistics);
  }
};

}  // namespace

std::unique_ptr<Stage> ImageVAEEncodingStage() { return std::make_unique<ImageVAEEncoding>(); }

}  // namespace tessera
