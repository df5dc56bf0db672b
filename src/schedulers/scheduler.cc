#include "schedulers/scheduler.h"

#include <utility>

namespace tessera {
namespace {

class FlowMatchEuler final : public Scheduler {
 public:
  explicit FlowMatchEuler(FlowMatchSchedule schedule) : schedule_(std::move(schedule)) {}
  std::string_view name() const noexcept override { return "FlowMatchEuler"; }
  std::span<const float> sigmas() const noexcept override { return schedule_.sigmas; }
  std::span<const float> timesteps() const noexcept override { return schedule_.timesteps; }
  void Step(int step, const Tensor& prediction, Tensor& latents) noexcept override {
    const auto i = static_cast<size_t>(step);
    FlowMatchEulerStep(latents, prediction, schedule_.sigmas[i], schedule_.sigmas[i + 1]);
  }

 private:
  FlowMatchSchedule schedule_;
};

}  // namespace

Tensor Scheduler::EstimateClean(int step, const Tensor& prediction, const Tensor& latents) const {
  Tensor clean = latents.To(DType::kF32);
  FlowMatchEulerStep(clean, prediction, sigmas()[static_cast<size_t>(step)], sigmas().back());
  return clean;
}

void Scheduler::Restore(int, const Tensor&, const TensorState& state) {
  state.RequireEmpty("a scheduler", "scheduler");
}

std::unique_ptr<Scheduler> MakeFlowMatchEuler(FlowMatchSchedule schedule) {
  return std::make_unique<FlowMatchEuler>(std::move(schedule));
}

}  // namespace tessera
