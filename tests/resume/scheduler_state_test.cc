// Schedulers that go on where another one of the same table stopped.
#include <cmath>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schedulers/unipc.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

using MakeScheduler = std::unique_ptr<Scheduler> (*)();

UniPcConfig Order(int order) {
  UniPcConfig config;
  config.solver_order = order;
  config.flow_shift = 3;
  return config;
}

std::unique_ptr<Scheduler> Euler() {
  return MakeFlowMatchEuler(MakeDefaultFlowMatchSchedule(FlowMatchEulerConfig{}, 7));
}

constexpr MakeScheduler kSchedulers[] = {Euler, [] { return MakeUniPc(Order(1), 7); },
                                         [] { return MakeUniPc(Order(2), 7); }, [] { return MakeUniPc(Order(3), 7); }};

Tensor Start() {
  Tensor latents = Tensor::Empty({2, 3}, DType::kF32);
  for (int64_t i = 0; i < 6; ++i) latents.mutable_data<float>()[i] = 0.3f * static_cast<float>(i) - 0.7f;
  return latents;
}

Tensor Velocity(const Tensor& latents) {
  Tensor velocity = Tensor::Empty(latents.shape(), DType::kF32);
  for (int64_t i = 0; i < latents.numel(); ++i) {
    velocity.mutable_data<float>()[i] = std::sin(3 * latents.data<float>()[i]) + 0.2f;
  }
  return velocity;
}

void Take(Scheduler& scheduler, int from, int to, Tensor& latents) {
  for (int step = from; step < to; ++step) scheduler.Step(step, Velocity(latents), latents);
}

TensorState CopyOf(const TensorState& state) {
  TensorState copy;
  for (const auto& [name, tensor] : state.tensors()) copy.Add(name, tensor.Clone());
  return copy;
}

TEST(SchedulerState, GoesOnToTheSameBits) {
  for (const MakeScheduler make : kSchedulers) {
    Tensor whole = Start();
    Take(*make(), 0, 7, whole);
    for (int stop = 1; stop < 7; ++stop) {
      Tensor latents = Start();
      const auto first = make();
      Take(*first, 0, stop, latents);
      const auto second = make();
      second->Restore(stop, latents, CopyOf(first->State()));
      Take(*second, stop, 7, latents);
      EXPECT_EQ(std::memcmp(latents.raw(), whole.raw(), whole.bytes()), 0) << stop;
    }
  }
}

TEST(SchedulerState, HoldsNoMoreThanTheOrderNeeds) {
  Tensor latents = Start();
  const auto scheduler = MakeUniPc(Order(2), 7);
  EXPECT_TRUE(scheduler->State().empty());
  Take(*scheduler, 0, 1, latents);
  EXPECT_EQ(scheduler->State().size(), 2u);  // the last sample and an estimate
  Take(*scheduler, 1, 5, latents);
  EXPECT_EQ(scheduler->State().size(), 3u);
  EXPECT_TRUE(Euler()->State().empty());
}

TEST(SchedulerState, RefusesWhatIsNotItsOwn) {
  const Tensor latents = Start();
  TensorState other;
  other.Add("last", Tensor::Zeros({5}, DType::kF32));
  EXPECT_THAT(ErrorOf([&] { MakeUniPc(Order(2), 7)->Restore(2, latents, other); }),
              HasSubstr("tensor 'last' is f32 [5], not f32 [6]"));
  EXPECT_THAT(ErrorOf([&] { MakeUniPc(Order(2), 7)->Restore(2, latents, {}); }), HasSubstr("no tensor 'last'"));
  EXPECT_THAT(ErrorOf([&] { Euler()->Restore(2, latents, other); }), HasSubstr("this scheduler keeps none"));
}

TEST(SchedulerEstimate, IsWhereAStraightFlowEnds) {
  for (const MakeScheduler make : kSchedulers) {
    const auto scheduler = make();
    for (int step = 0; step < 7; ++step) {
      const float sigma = scheduler->sigmas()[static_cast<size_t>(step)], target = -0.75f, noise = 1.5f;
      Tensor latents = Tensor::Empty({1}, DType::kF32), velocity = Tensor::Empty({1}, DType::kF32);
      latents.mutable_data<float>()[0] = (1 - sigma) * target + sigma * noise;
      velocity.mutable_data<float>()[0] = noise - target;
      EXPECT_NEAR(scheduler->EstimateClean(step, velocity, latents).data<float>()[0], target, 1e-6f);
    }
  }
}

}  // namespace
}  // namespace tessera
