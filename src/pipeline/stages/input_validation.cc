#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "pipeline/stage.h"
#include "platform/cpu/cpu.h"
#include "schedulers/dmd.h"

namespace tessera {
namespace {

constexpr int64_t kMostSteps = 10000;
constexpr int64_t kMostTextTokens = 1 << 17;
constexpr int64_t kMostOutputs = 100000;
constexpr int64_t kMostFrames = 1 << 20;

void CheckRange(const char* flag, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return;
  throw Error(ErrorKind::kUsage, fmt::format("{} {}: must be {} to {}", flag, value, least, most));
}

void CheckText(const char* flag, const std::string& text) {
  if (IsUtf8(text)) return;
  throw Error(ErrorKind::kUsage, fmt::format("{} '{}': is not valid UTF-8", flag, Printable(text, 60)));
}

// The type a component computes in: the asked one, else the checkpoint's where this machine has its instructions.
DType ResolvePrecision(const ModelFolder& folder, const std::string& component, const std::optional<DType>& asked) {
  if (asked == DType::kF16) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("fp16 arithmetic for {}: a CPU has none here; bf16 and fp32 work", component));
  }
  if (asked) return *asked;
  const DType stored = folder.Weights(component).MainDType();
  return stored == DType::kBF16 && ActiveIsa() >= Isa::kAvx512Bf16 ? DType::kBF16 : DType::kF32;
}

class InputValidation final : public Stage {
 public:
  std::string_view name() const noexcept override { return "InputValidationStage"; }

  void Run(RunState& run) override {
    CheckPrompts(run);
    const GenerationDefaults defaults = run.family->Defaults();
    run.precisions = {ResolvePrecision(run.folder, "transformer", run.request.precisions.dit),
                      ResolvePrecision(run.folder, "vae", run.request.precisions.vae),
                      ResolvePrecision(run.folder, "text_encoder", run.request.precisions.text_encoder)};
    if (run.family->vision_encoder() != nullptr) {
      run.precisions.image_encoder =
          ResolvePrecision(run.folder, "image_encoder", run.request.precisions.image_encoder);
    }
    run.job.compute = run.precisions.dit;
    ResolveNumbers(run, defaults);
    ReadReferences(run);
    ResolveSize(run);
    NoteIgnored(run);
  }

 private:
  static void CheckPrompts(RunState& run) {
    const GenerateRequest& request = run.request;
    if (request.prompts.empty()) throw Error(ErrorKind::kUsage, "no prompt: give --prompt \"...\"");
    for (const std::string& prompt : request.prompts) {
      CheckText("--prompt", prompt);
      run.prompts.push_back({prompt, {}});
    }
    if (request.negative_prompt) CheckText("--negative-prompt", *request.negative_prompt);
    CheckRange("--vae-tile-size", request.vae_tile_size, 128, 8192);
    CheckRange("--num-outputs-per-prompt", request.num_outputs_per_prompt, 1, kMostOutputs);
  }

  static void ResolveNumbers(RunState& run, const GenerationDefaults& defaults) {
    const GenerateRequest& request = run.request;
    ResolveSteps(run, defaults);
    run.job.guidance_scale = request.guidance_scale.value_or(defaults.guidance_scale);
    if (!std::isfinite(run.job.guidance_scale) || run.job.guidance_scale < 0) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("--guidance-scale {}: must be a number of at least 0", run.job.guidance_scale));
    }
    const bool own = !request.guidance_scale && defaults.guidance_scale_2;
    run.job.guidance_scale_2 =
        request.guidance_scale_2.value_or(own ? *defaults.guidance_scale_2 : run.job.guidance_scale);
    if (!std::isfinite(run.job.guidance_scale_2) || run.job.guidance_scale_2 < 0) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("--guidance-scale-2 {}: must be a number of at least 0", run.job.guidance_scale_2));
    }
    ResolveFrames(run, defaults);
    run.job.text_tokens = request.max_sequence_length.value_or(defaults.max_sequence_length);
    CheckRange("--max-sequence-length", run.job.text_tokens, 1,
               std::min(kMostTextTokens, run.family->text_encoder().most_tokens()));
  }

  static void ResolveSteps(RunState& run, const GenerationDefaults& defaults) {
    const GenerateRequest& request = run.request;
    const std::vector<int64_t> own = run.family->DistilledTimesteps();
    run.job.timesteps = request.dmd_denoising_steps.empty() ? own : request.dmd_denoising_steps;
    if (own.empty() && !request.dmd_denoising_steps.empty()) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("--dmd-denoising-steps {}: pipelines distilled for few steps take it, and this model's "
                              "({}) is none",
                              fmt::join(request.dmd_denoising_steps, ","), Printable(run.folder.pipeline_class())));
    }
    CheckTimesteps(run.job.timesteps);
    const auto fixed = static_cast<int64_t>(run.job.timesteps.size());
    const int64_t steps = request.num_inference_steps.value_or(fixed > 0 ? fixed : defaults.steps);
    CheckRange("--num-inference-steps", steps, 1, kMostSteps);
    if (fixed > 0 && steps > fixed) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("--num-inference-steps {}: this model was distilled for {} steps, at the timesteps {}; "
                              "--dmd-denoising-steps takes others",
                              steps, fixed, fmt::join(run.job.timesteps, ",")));
    }
    if (fixed > 0) run.job.timesteps.resize(static_cast<size_t>(steps));
    run.job.steps = static_cast<int>(steps);
  }

  static void CheckTimesteps(const std::vector<int64_t>& timesteps) {
    for (size_t i = 0; i < timesteps.size(); ++i) {
      CheckRange("--dmd-denoising-steps", timesteps[i], 1, kDmdTrainTimesteps);
      if (i == 0 || timesteps[i] < timesteps[i - 1]) continue;
      throw Error(ErrorKind::kUsage, fmt::format("--dmd-denoising-steps {}: each timestep must be below the one before",
                                                 fmt::join(timesteps, ",")));
    }
  }

  static void ResolveFrames(RunState& run, const GenerationDefaults& defaults) {
    const int64_t asked = run.request.num_frames.value_or(defaults.frames);
    CheckRange("--num-frames", asked, 1, kMostFrames);
    run.job.frames = run.family->RoundFrames(asked);
    if (run.job.frames == asked) return;
    Log(LogLevel::kWarning,
        fmt::format("{} frames are not what the model can make: {} are made", asked, run.job.frames));
  }

  static void ReadReferences(RunState& run) {
    if (run.request.image_paths.size() < run.family->FewestReferences()) {
      throw Error(ErrorKind::kUsage, fmt::format("--image-path: this model makes films from pictures; give at least {}",
                                                 run.family->FewestReferences()));
    }
    if (run.request.image_paths.empty()) return;
    if (const auto reason = run.family->WhyNoReferences()) {
      throw Error(ErrorKind::kUnsupported, fmt::format("--image-path: {}", *reason));
    }
    if (run.request.image_paths.size() > run.family->MostReferences()) {
      throw Error(ErrorKind::kUsage, fmt::format("--image-path: {} pictures are given, but this model takes at most {}",
                                                 run.request.image_paths.size(), run.family->MostReferences()));
    }
    for (const std::string& path : run.request.image_paths) {
      try {
        run.references.push_back(run.family->PrepareReference(ReadPicture(path)));
      } catch (const Error& error) {
        throw Error(error.kind(), fmt::format("--image-path {}: {}", Printable(path), error.what()));
      }
      run.job.references.push_back({run.references.back().height, run.references.back().width});
    }
  }

  static void ResolveSize(RunState& run) {
    const PictureSize fallback = run.family->DefaultSize(run.job.references);
    const PictureSize asked{run.request.height.value_or(fallback.height), run.request.width.value_or(fallback.width)};
    run.job.size = run.family->RoundSize(asked);
    if (run.job.size == asked) return;
    Log(LogLevel::kWarning, fmt::format("size {}x{} is not what the model can make: {}x{} is made", asked.width,
                                        asked.height, run.job.size.width, run.job.size.height));
  }

  static void NoteIgnored(const RunState& run) {
    if (run.request.precisions.image_encoder && run.family->vision_encoder() == nullptr) {
      Log(LogLevel::kWarning,
          "--image-encoder-precision has no effect: this model has no image encoder besides the autoencoder");
    }
    if (run.guided()) return;
    if (run.request.negative_prompt && !run.request.negative_prompt->empty()) {
      Log(LogLevel::kWarning,
          fmt::format("--negative-prompt has no effect: this job runs without guidance (guidance scale {})",
                      run.job.guidance_scale));
    }
    if (run.request.guidance_scale.value_or(1.0) > 1.0) {
      Log(LogLevel::kWarning, "--guidance-scale has no effect: the checkpoint is distilled and runs without guidance");
    }
  }
};

}  // namespace

std::unique_ptr<Stage> InputValidationStage() { return std::make_unique<InputValidation>(); }

}  // namespace tessera
