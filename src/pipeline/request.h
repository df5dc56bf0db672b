// What a user asks for: plain values, checked by the InputValidation stage.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attention/check_rows.h"
#include "attention/registry.h"
#include "tensor/dtype.h"

namespace tessera {

// Component precisions; absent: the checkpoint's type.
struct Precisions {
  std::optional<DType> dit, vae, text_encoder, image_encoder;
};

// Whether a component's weights stay loaded after its stage (the `--*-cpu-offload False` flags).
struct KeepLoaded {
  std::optional<bool> dit, text_encoder, vae;
};

enum class Tiling { kAuto, kOff, kOn };

struct GenerateRequest {
  std::string model_path;
  std::string revision = "main";
  std::vector<std::string> prompts;
  std::optional<std::string> negative_prompt;
  std::optional<int64_t> height, width;
  std::optional<int64_t> num_inference_steps;
  std::vector<int64_t> dmd_denoising_steps;  // timesteps of a distilled model; empty: its own
  std::optional<double> guidance_scale, guidance_scale_2;
  std::optional<int64_t> num_frames;
  std::optional<double> fps;
  uint64_t seed = 42;
  int64_t num_outputs_per_prompt = 1;
  std::vector<std::string> image_paths;
  std::string scheduler_path;  // a folder whose scheduler_config.json is used instead of the checkpoint's
  std::optional<int64_t> max_sequence_length;

  std::string output_path = "outputs";
  std::string output_file_name;
  std::string output_format;          // "", "png", "jpg", "webp"
  std::optional<int> output_quality;  // absent: 95 for pictures, 50 for films
  std::string frames_as;              // "png": a film as a folder of pictures
  std::string perf_dump_path;
  std::string profile_path;  // a trace of the run; "": none is recorded
  std::string save_latents;  // a .safetensors file with noise, latents per step, embeddings
  std::string checkpoint;    // a file that keeps the run between its steps; "": none
  int64_t checkpoint_every = 1;
  std::string resume;         // such a file of an earlier run; "": from the beginning
  int64_t preview_every = 0;  // steps; 0: no previews

  Precisions precisions;
  KeepLoaded keep_loaded;
  // The backends to choose from; null: what is built in. Shared by every run of the request.
  std::shared_ptr<const AttentionRegistry> attention_registry;
  std::string attention_backend = "auto";
  std::map<std::string, std::string> component_attention;  // "transformer", "transformer.self" -> backends
  std::string attention_schedule;                          // rules as JSON text; "": none
  Fidelity attention_fidelity = Fidelity::kExact;          // what "auto" may take in the denoiser
  Options attention_options;
  std::string attention_options_text;  // as it was given, kept in the picture
  AttentionCheck attention_check;      // nothing is checked by default
  Tiling vae_tiling = Tiling::kAuto;
  int64_t vae_tile_size = 512;  // pixels, when tiling
  int64_t warmup_steps = 0;     // 0: no warm-up
  enum class MemoryCheck { kRefuse, kForce } memory_check = MemoryCheck::kRefuse;

  const AttentionRegistry& registry() const {
    return attention_registry != nullptr ? *attention_registry : AttentionRegistry::BuiltIn();
  }
};

}  // namespace tessera
