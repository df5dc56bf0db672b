// FlowMatchEulerDiscreteScheduler: sigma tables and the Euler step (diffusers' numerics in f32).
#pragma once
#include <optional>
#include <span>
#include <vector>

#include "base/config.h"
#include "tensor/tensor.h"

namespace tessera {

struct FlowMatchEulerConfig {
  int64_t num_train_timesteps = 1000;
  double shift = 1.0;
  bool use_dynamic_shifting = false;
  double base_shift = 0.5, max_shift = 1.15;
  int64_t base_image_seq_len = 256, max_image_seq_len = 4096;
  std::optional<double> shift_terminal;
  bool exponential_time_shift = true;  // time_shift_type exponential | linear
  bool invert_sigmas = false;
  static FlowMatchEulerConfig From(const Config& config);  // refuses what is not implemented, by name
};

// sigmas has steps + 1 values ending in 0 (in 1 with invert_sigmas); timesteps[i] = num_train_timesteps * sigmas[i].
struct FlowMatchSchedule {
  std::vector<float> sigmas, timesteps;
};

// The grid linspace(1, 1/steps, steps), shifted as the config says (mu for dynamic shifting).
FlowMatchSchedule MakeFlowMatchSchedule(const FlowMatchEulerConfig& config, int steps, double mu);
// The same from a pipeline's own grid of sigmas (HunyuanVideo, distilled models).
FlowMatchSchedule MakeFlowMatchSchedule(const FlowMatchEulerConfig& config, std::span<const double> grid, double mu);

// The scheduler's own grid: evenly between the shifted ends of its training table, shifted once more (what pipelines
// get that hand over no grid).
FlowMatchSchedule MakeDefaultFlowMatchSchedule(const FlowMatchEulerConfig& config, int steps);

// The config's straight line from base_shift at base_image_seq_len to max_shift at max_image_seq_len.
double LinearMu(const FlowMatchEulerConfig& config, int64_t image_tokens) noexcept;

// FLUX.2's empirical mu for n image tokens (references excluded).
double Flux2Mu(int64_t image_tokens, int steps) noexcept;

// latents += (sigma_next - sigma) * prediction, in f32, both contiguous; latents f32 or bf16 (rounded back).
void FlowMatchEulerStep(Tensor& latents, const Tensor& prediction, float sigma, float sigma_next) noexcept;

}  // namespace tessera
