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

std::unique_ptr<Scheduler> MakeFlowMatchEuler(FlowMatchSchedule schedule) {
  return std::make_unique<FlowMatchEuler>(std::move(schedule));
}

}  // namespace tessera
