// What the denoising loop needs of a scheduler.
#pragma once
#include <memory>
#include <span>
#include <string_view>

#include "schedulers/flow_match_euler.h"
#include "tensor/tensor_state.h"

namespace tessera {

class Scheduler {
 public:
  virtual ~Scheduler() = default;
  virtual std::string_view name() const noexcept = 0;
  virtual std::span<const float> sigmas() const noexcept = 0;     // steps + 1, the last one 0
  virtual std::span<const float> timesteps() const noexcept = 0;  // steps, 0..1000
  // Moves `latents` from step i to i + 1. Steps are taken in order; a scheduler may remember earlier predictions.
  virtual void Step(int step, const Tensor& prediction, Tensor& latents) noexcept = 0;
  // Where the flow from `latents` ends by the prediction at `step`, f32: a guess of the finished latents.
  virtual Tensor EstimateClean(int step, const Tensor& prediction, const Tensor& latents) const;

  // What later steps need of the steps so far, beside the latents; views that the next Step changes.
  virtual TensorState State() const { return {}; }
  // Of a new scheduler: goes on before `step`, as the one whose State() was taken there. `latents` are those of that
  // step. Throws Error{kFormat}.
  virtual void Restore(int step, const Tensor& latents, const TensorState& state);
};

std::unique_ptr<Scheduler> MakeFlowMatchEuler(FlowMatchSchedule schedule);

}  // namespace tessera
