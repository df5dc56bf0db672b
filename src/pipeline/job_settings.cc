#include "pipeline/job_settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "pipeline/resource_plan.h"

namespace tessera {
namespace {

using Settings = std::map<std::string, std::string>;

void AddModel(const RunState& run, Settings& settings) {
  settings["dit-precision"] = Name(run.precisions.dit);
  settings["vae-precision"] = Name(run.precisions.vae);
  settings["text-encoder-precisions"] = Name(run.precisions.text_encoder);
  settings["max-sequence-length"] = std::to_string(run.job.text_tokens);
  if (ReadsPictures(run)) settings["image-encoder-precision"] = Name(run.precisions.image_encoder);
  if (!run.request.image_paths.empty()) settings["image-path"] = Join(run.request.image_paths, "\n");
  if (run.request.vae_tiling == Tiling::kAuto) return;
  settings["vae-tiling"] = run.request.vae_tiling == Tiling::kOn ? "true" : "false";
  settings["vae-tile-size"] = std::to_string(run.request.vae_tile_size);
}

void AddFilm(const RunState& run, Settings& settings) {
  if (run.family->Defaults().frames > 1) {
    settings["num-frames"] = std::to_string(run.job.frames);
    settings["fps"] = fmt::format("{}", run.request.fps.value_or(run.family->Defaults().fps));
    settings["guidance-scale-2"] = fmt::format("{}", run.job.guidance_scale_2);
  }
  if (!run.job.timesteps.empty()) {
    settings["dmd-denoising-steps"] = fmt::format("{}", fmt::join(run.job.timesteps, ","));
  }
}

void AddAttention(const GenerateRequest& request, Settings& settings) {
  settings["attention-backend"] = request.attention_backend;
  if (!request.attention_options_text.empty()) settings["attention-backend-config"] = request.attention_options_text;
  if (!request.component_attention.empty()) {
    settings["component-attention-backends"] = nlohmann::json(request.component_attention).dump();
  }
  if (!request.attention_schedule.empty()) settings["attention-schedule"] = request.attention_schedule;
  if (request.attention_fidelity != Fidelity::kExact) {
    settings["attention-fidelity"] = Name(request.attention_fidelity);
  }
}

}  // namespace

Settings JobSettings(const RunState& run) {
  Settings settings;
  AddModel(run, settings);
  AddFilm(run, settings);
  AddAttention(run.request, settings);
  return settings;
}

}  // namespace tessera
