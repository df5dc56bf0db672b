#include "pipeline/resource_plan.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "platform/cpu/cpu.h"
#include "platform/cpu/peak.h"

namespace tessera {
namespace {

// Shares of the arithmetic peak that whole stages reach: the estimate of --plan-only.
constexpr double kLinearShare = 0.85, kAttentionShare = 0.75, kConvolutionShare = 0.8;
constexpr size_t kProcessBytes = size_t{64} << 20;  // code, libraries, tables

double PeakFor(DType compute) {
  const bool bf16 = compute == DType::kBF16 && Bf16DotPays();
  return QuickPeak(bf16 ? PeakKind::kBf16 : PeakKind::kF32) * CpuDevice().threads;
}

double SecondsFor(const Cost& cost, DType compute) {
  const double peak = PeakFor(compute);
  return (cost.linear_flops / kLinearShare + cost.attention_flops / kAttentionShare +
          cost.convolution_flops / kConvolutionShare) /
         peak;
}

StageCost MakeStage(const std::string& name, const Cost& cost, DType compute, double passes) {
  return {name, 0, cost.workspace_bytes + cost.state_bytes, cost.flops() * passes, SecondsFor(cost, compute) * passes};
}

StageCost TextStage(const RunState& run) {
  const auto& spec = run.family->text_encoder();
  const TextEncoderJob job = TextJob(run);
  const double passes = static_cast<double>(run.request.prompts.size()) + (run.guided() ? 1 : 0);
  StageCost stage = MakeStage("TextEncodingStage", spec.CostOf(job), job.compute, passes);
  stage.weight_bytes = spec.UsedWeightBytes(run.folder.Weights("text_encoder"), job);
  stage.activation_bytes += run.attention.WorkspaceBytes(spec.Sites(job));
  return stage;
}

StageCost ImageStage(const RunState& run) {
  const auto& spec = *run.family->vision_encoder();
  const VisionEncoderJob job = ImageJob(run);
  StageCost stage =
      MakeStage("ImageEncodingStage", spec.CostOf(job), job.compute, static_cast<double>(run.job.references.size()));
  stage.weight_bytes = spec.UsedWeightBytes(run.folder.Weights("image_encoder"));
  stage.activation_bytes += run.attention.WorkspaceBytes(spec.Sites(job));
  return stage;
}

StageCost ReferenceStage(const RunState& run) {
  const auto& spec = run.family->autoencoder();
  StageCost stage{"ImageVAEEncodingStage", run.folder.WeightBytes("vae"), 0, 0, 0};
  for (const auto& frames : run.family->EncodedSizes(run.job)) {
    const AutoencoderJob job = EncoderJob(run, frames);
    const StageCost one = MakeStage("", spec.CostOf(job), job.compute, 1);
    stage.flops += one.flops;
    stage.seconds += one.seconds;
    stage.activation_bytes =
        std::max(stage.activation_bytes, one.activation_bytes + run.attention.WorkspaceBytes(spec.Sites(job)));
  }
  return stage;
}

double Pictures(const RunState& run) {
  return static_cast<double>(run.request.prompts.size()) * static_cast<double>(run.request.num_outputs_per_prompt);
}

StageCost DenoisingCost(const RunState& run) {
  const Cost step = run.family->StepCost(run.job);
  StageCost stage = MakeStage(std::string(run.family->DenoisingStageName()), step, run.job.compute,
                              run.family->TotalSteps(run.job) * Pictures(run));
  for (const std::string& component : run.family->DenoiserComponents()) {
    stage.weight_bytes = std::max(stage.weight_bytes, run.folder.WeightBytes(component));
  }
  stage.activation_bytes += run.attention.WorkspaceBytes(run.family->DenoiserSites(run.job));
  return stage;
}

StageCost DecodingCost(const RunState& run) {
  const auto& spec = run.family->autoencoder();
  const AutoencoderJob job = DecoderJob(run);
  StageCost stage = MakeStage("DecodingStage", spec.CostOf(job), job.compute, Pictures(run));
  stage.weight_bytes = run.folder.WeightBytes("vae");
  stage.activation_bytes += run.attention.WorkspaceBytes(spec.Sites(job));
  return stage;
}

// Weights stay mapped from a stage to the next when asked to, and between pictures.
size_t PeakOf(const RunState& run, const std::vector<StageCost>& stages) {
  size_t peak = 0, kept = 0;
  for (const StageCost& stage : stages) {
    peak = std::max(peak, kept + stage.weight_bytes + stage.activation_bytes);
    const bool keep = stage.name == "TextEncodingStage" ? run.request.keep_loaded.text_encoder.value_or(false)
                      : stage.name == run.family->DenoisingStageName()
                          ? run.request.keep_loaded.dit.value_or(false) || Pictures(run) > 1
                          : false;
    if (keep) kept += stage.weight_bytes;
  }
  return peak + kProcessBytes;
}

}  // namespace

TextEncoderJob TextJob(const RunState& run) {
  TextEncoderJob job = run.family->TextTasks("", run.job.text_tokens).front().job;
  job.compute = run.precisions.text_encoder;
  return job;
}

bool ReadsPictures(const RunState& run) {
  return run.family->vision_encoder() != nullptr && !run.job.references.empty();
}

VisionEncoderJob ImageJob(const RunState& run) { return {run.precisions.image_encoder}; }

AutoencoderJob DecoderJob(const RunState& run) {
  AutoencoderJob job{run.job.size.height, run.job.size.width, run.precisions.vae, 0, AutoencoderJob::Direction::kDecode,
                     run.job.frames};
  if (run.request.vae_tiling == Tiling::kOn) job.tile = run.request.vae_tile_size;
  if (run.request.vae_tiling == Tiling::kAuto) job.tile = run.family->autoencoder().TileFor(job.height, job.width);
  return job;
}

AutoencoderJob EncoderJob(const RunState& run, ModelFamily::EncodedFrames frames) {
  return {frames.size.height, frames.size.width, run.precisions.vae, 0, AutoencoderJob::Direction::kEncode,
          frames.frames};
}

std::vector<SiteProblem> AllSites(const RunState& run) {
  std::vector<SiteProblem> all = run.family->text_encoder().Sites(TextJob(run));
  const auto append = [&](std::vector<SiteProblem> sites) { all.insert(all.end(), sites.begin(), sites.end()); };
  if (ReadsPictures(run)) append(run.family->vision_encoder()->Sites(ImageJob(run)));
  const auto& autoencoder = run.family->autoencoder();
  for (const auto& frames : run.family->EncodedSizes(run.job)) append(autoencoder.Sites(EncoderJob(run, frames)));
  append(run.family->DenoiserSites(run.job));
  append(autoencoder.Sites(DecoderJob(run)));
  return all;
}

ResourcePlan PlanResources(const RunState& run) {
  ResourcePlan plan;
  plan.stages.push_back(TextStage(run));
  if (ReadsPictures(run)) plan.stages.push_back(ImageStage(run));
  if (!run.job.references.empty()) plan.stages.push_back(ReferenceStage(run));
  plan.stages.push_back(DenoisingCost(run));
  plan.stages.push_back(DecodingCost(run));
  for (const StageCost& stage : plan.stages) plan.seconds += stage.seconds;
  plan.peak_bytes = PeakOf(run, plan.stages);
  plan.memory_bytes = run.attention.device().memory_bytes;
  return plan;
}

void CheckMemory(const RunState& run, const ResourcePlan& plan) {
  if (plan.Fits() || run.request.memory_check == GenerateRequest::MemoryCheck::kForce) return;
  const auto largest =
      std::max_element(plan.stages.begin(), plan.stages.end(), [](const StageCost& a, const StageCost& b) {
        return a.weight_bytes + a.activation_bytes < b.weight_bytes + b.activation_bytes;
      });
  throw Error(
      ErrorKind::kMemory,
      fmt::format(
          "this job needs {} ({} alone: weights {}, activations {}), but only {} of memory are there; a smaller "
          "size{} or --force (it will swap) would work",
          FormatBytes(static_cast<double>(plan.peak_bytes)), largest->name,
          FormatBytes(static_cast<double>(largest->weight_bytes)),
          FormatBytes(static_cast<double>(largest->activation_bytes)),
          FormatBytes(static_cast<double>(plan.memory_bytes)),
          run.family->autoencoder().TakesTiles() ? ", --vae-tiling" : ""));
}

std::string ResourcePlan::ToText() const {
  std::string text =
      fmt::format("{:<24}{:>12}{:>14}{:>14}{:>16}\n", "stage", "weights", "activations", "TFLOP", "expected time");
  for (const StageCost& stage : stages) {
    text += fmt::format(
        "{:<24}{:>12}{:>14}{:>14.3f}{:>16}\n", stage.name, FormatBytes(static_cast<double>(stage.weight_bytes)),
        FormatBytes(static_cast<double>(stage.activation_bytes)), stage.flops / 1e12, FormatSeconds(stage.seconds));
  }
  return text + fmt::format("peak memory {} of {}; expected time {}\n", FormatBytes(static_cast<double>(peak_bytes)),
                            FormatBytes(static_cast<double>(memory_bytes)), FormatSeconds(seconds));
}

nlohmann::json ResourcePlan::ToJson() const {
  nlohmann::json rows = nlohmann::json::array();
  for (const StageCost& stage : stages) {
    rows.push_back({{"name", stage.name},
                    {"weight_bytes", stage.weight_bytes},
                    {"activation_bytes", stage.activation_bytes},
                    {"flops", stage.flops},
                    {"seconds", stage.seconds}});
  }
  return {{"stages", rows},
          {"peak_bytes", peak_bytes},
          {"memory_bytes", memory_bytes},
          {"seconds", seconds},
          {"fits", Fits()}};
}

}  // namespace tessera
