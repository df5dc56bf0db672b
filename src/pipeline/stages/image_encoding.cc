#include <cstring>

#include "pipeline/resource_plan.h"
#include "pipeline/stage.h"

namespace tessera {
namespace {

class ImageEncoding final : public Stage {
 public:
  std::string_view name() const noexcept override { return "ImageEncodingStage"; }

  void Run(RunState& run) override {
    const auto& spec = *run.family->vision_encoder();
    const VisionEncoderJob job = ImageJob(run);
    const auto pictures = static_cast<int64_t>(run.references.size());
    run.progress.Begin({"picture reading", "picture", pictures});
    run.workspace.Reserve(spec.CostOf(job).workspace_bytes + run.attention.WorkspaceBytes(spec.Sites(job)));
    const auto encoder = spec.Load(run.folder.Weights("image_encoder"), job);
    run.image_embeds = Tensor::Empty({pictures * spec.tokens(), spec.width()}, DType::kF32);
    for (int64_t i = 0; i < pictures; ++i) {
      ForwardContext context = run.forward();
      const Tensor rows = encoder->Encode(spec.Pixels(run.references[static_cast<size_t>(i)]), context);
      run.attention.CheckRuns();
      Tensor place = run.image_embeds.Narrow(0, i * spec.tokens(), spec.tokens());
      std::memcpy(place.mutable_raw(), rows.raw(), rows.bytes());
      run.progress.Advance();
    }
    run.progress.Finish();
    run.workspace.Release();
    run.report.AddMemory(std::string(name()));
  }
};

}  // namespace

std::unique_ptr<Stage> ImageEncodingStage() { return std::make_unique<ImageEncoding>(); }

}  // namespace tessera
