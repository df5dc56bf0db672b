// The blackboard of one run: what stages read and write, in the order they run.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attention/layer.h"
#include "base/trace.h"
#include "models/family.h"
#include "pipeline/progress.h"
#include "pipeline/report.h"
#include "pipeline/request.h"
#include "tensor/random.h"
#include "tensor/tensor_state.h"
#include "weights/model_folder.h"

namespace tessera {

// How a trace shows what a run does.
inline TraceLabel StageLabel(std::string_view name) noexcept { return {.kind = TraceKind::kStage, .name = name}; }
inline TraceLabel WriteLabel(std::string_view what) noexcept {
  return {.kind = TraceKind::kWrite, .name = "write", .place = what};
}

// One prompt: its embeddings are shared by its outputs.
struct PromptState {
  std::string prompt;
  PromptEmbeds embeds;
};

// Where a picture goes on that an earlier run began: its latents and the parts of the state by name.
struct ResumePoint {
  int step = 0;  // steps done
  TensorState state;
};

// One picture on its way from noise to file.
struct PictureState {
  size_t prompt = 0;  // index into RunState::prompts
  uint64_t seed = 0;
  TorchGenerator generator{0};  // of the seed, behind the noise
  Tensor noise, latents;        // latents [tokens, channels]
  std::unique_ptr<Scheduler> scheduler;
  std::vector<Tensor> latents_per_step;            // kept only for --save-latents
  Tensor first_prediction;                         // likewise
  std::function<void(const Picture&)> take_frame;  // gets the decoded frames, in order

  std::optional<ResumePoint> resume;  // absent: from the noise
  // After every step, with what a ResumePoint needs; may be null.
  std::function<void(int steps_done, const TensorState& state)> take_state;
  // After every step that --preview-every names, with an estimate of the finished latents, f32; may be null.
  std::function<void(int steps_done, const Tensor& clean)> take_estimate;
};

struct ResolvedPrecisions {
  DType dit = DType::kF32, vae = DType::kF32, text_encoder = DType::kF32, image_encoder = DType::kF32;
};

struct RunState {
  RunState(GenerateRequest asked, ModelFolder model, Device device, AttentionSchedule schedule)
      : request(std::move(asked)),
        folder(std::move(model)),
        attention(std::move(device), std::move(schedule), request.registry()) {
    if (request.profile_path.empty()) return;
    trace = std::make_unique<TraceRecorder>();
    workspace.SetTrace(trace.get());
  }

  GenerateRequest request;
  ModelFolder folder;
  std::unique_ptr<ModelFamily> family;
  ResolvedPrecisions precisions;
  DenoisingJob job;                 // the same for every picture of a run
  std::vector<Picture> references;  // prepared
  std::vector<PromptState> prompts;
  PromptEmbeds negative_prompt;
  std::vector<Tensor> reference_rows;  // packed
  Tensor image_embeds;                 // of the vision encoder
  LatentStatistics statistics;

  std::unique_ptr<TextEncoder> text_encoder;  // set only while it is kept loaded
  std::unique_ptr<DenoisingModel> denoiser;   // kept for further pictures
  std::unique_ptr<Autoencoder> decoder;
  size_t pictures_left = 0;  // after the one in work: components are released when it is 0

  std::unique_ptr<TraceRecorder> trace;  // null: nothing is recorded
  Workspace workspace;
  AttentionContext attention;
  Report report;
  Progress progress;
  std::function<void(int steps_done)> watch_step;  // after each step and all that is written with it; may be null

  ForwardContext forward() noexcept { return {workspace, attention}; }
  bool guided() const { return family->IsGuided(job.guidance_scale); }
};

}  // namespace tessera
