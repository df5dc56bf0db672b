#include "schedulers/scheduler.h"

#include <utility>

#include "base/check.h"
#include "base/error.h"

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
  TESSERA_CHECK(prediction.dtype() == DType::kF32 && prediction.numel() == latents.numel());
  Tensor clean = latents.To(DType::kF32);
  const float way = sigmas().back() - sigmas()[static_cast<size_t>(step)];
  float* value = clean.mutable_data<float>();
  for (int64_t i = 0; i < clean.numel(); ++i) value[i] += way * prediction.data<float>()[i];
  return clean;
}

void Scheduler::Restore(int, const Tensor&, const TensorState& state) {
  if (state.empty()) return;
  throw Error(ErrorKind::kFormat, "has a scheduler's memory, but this scheduler keeps none");
}

std::unique_ptr<Scheduler> MakeFlowMatchEuler(FlowMatchSchedule schedule) {
  return std::make_unique<FlowMatchEuler>(std::move(schedule));
}

}  // namespace tessera
