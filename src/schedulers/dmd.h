// Sampling of models distilled for few steps (distribution matching distillation; Yin et al., arXiv 2405.14867): every
// step estimates the clean latents and adds fresh noise for the next timestep. Blocks of frames may be made one after
// the other (Self-Forcing; Huang et al., arXiv 2506.08009).
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "base/config.h"
#include "schedulers/scheduler.h"
#include "tensor/random.h"

namespace tessera {

constexpr int64_t kDmdTrainTimesteps = 1000;

// The table of kDmdTrainTimesteps entries that steps are looked up in: the even grid 1 ... 1/1000, shifted to
// shift * s / (1 + (shift - 1) * s); timesteps are 1000 times as large.
struct DmdConfig {
  double shift = 8.0;
  enum class Steps {
    kTimesteps,  // a step is a timestep; its sigma is that of the nearest entry
    kPlaces,     // a step s is the entry at 1000 - s, whose timestep need not be whole
  } steps = Steps::kTimesteps;
  // Two experts: steps at this timestep and above predict the latents at its noise level, not the clean ones.
  std::optional<double> boundary = std::nullopt;

  // Takes `shift` from configurations made for such models (FlowMatchEulerDiscreteScheduler,
  // SelfForcingFlowMatchScheduler); others belong to the model that was distilled, and `fallback` holds. Throws
  // Error{kFormat}.
  static DmdConfig From(const Config& config, double fallback);
};

struct DmdTable {
  std::vector<float> sigmas, timesteps;  // of every step
  size_t high_steps = 0;                 // of the first expert
  float boundary_sigma = 0;
};
// `steps` fall from at most 1000 to at least 1 (as checked where a job is read).
DmdTable MakeDmdTable(const DmdConfig& config, const std::vector<int64_t>& steps);

// Latents are [channels, frames, height, width] f32; `blocks` are the frames of every block. All steps of a block run
// before the next block's first. Noise is drawn as [frames, channels, height, width] of `noise_type`.
struct DmdRollout {
  DmdTable table;
  std::vector<int64_t> blocks;
  TorchGenerator generator;
  DType noise_type = DType::kF32;
};
std::unique_ptr<Scheduler> MakeDmd(DmdRollout rollout);

}  // namespace tessera
