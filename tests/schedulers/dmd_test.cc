#include "schedulers/dmd.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace tessera {
namespace {

TEST(DmdTable, TakesTheNearestEntryOfTheShiftedTable) {
  const DmdTable table = MakeDmdTable({}, {1000, 757, 522});
  EXPECT_EQ(table.timesteps, (std::vector<float>{1000, 757, 522}));
  EXPECT_FLOAT_EQ(table.sigmas[0], 1.0f);
  EXPECT_FLOAT_EQ(table.sigmas[1], 8 * 0.280f / (1 + 7 * 0.280f));
  EXPECT_FLOAT_EQ(table.sigmas[2], 8 * 0.120f / (1 + 7 * 0.120f));
}

TEST(DmdTable, TakesPlacesOfTheShiftedTable) {
  DmdConfig config;
  config.shift = 5;
  config.steps = DmdConfig::Steps::kPlaces;
  const DmdTable table = MakeDmdTable(config, {1000, 750, 500, 250});
  const float expected[] = {1000, 937.5f, 833.33333f, 625};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(table.timesteps[i], expected[i], 1e-3f);
    EXPECT_NEAR(table.sigmas[i], expected[i] / 1000, 1e-6f);
  }
}

TEST(DmdTable, CountsTheStepsOfTheFirstExpert) {
  DmdConfig config;
  config.shift = 12;
  config.steps = DmdConfig::Steps::kPlaces;
  config.boundary = 875;
  const DmdTable table = MakeDmdTable(config, {1000, 850, 700, 550, 350, 275, 200, 125});
  EXPECT_EQ(table.high_steps, 4u);  // 12 * 0.35 / (1 + 11 * 0.35) = 0.866
  EXPECT_NEAR(table.boundary_sigma, 0.875f, 1e-3f);
}

DmdConfig Read(const char* json, double fallback) {
  return DmdConfig::From(Config(nlohmann::json::parse(json), "scheduler_config.json"), fallback);
}

TEST(DmdConfig, TakesTheShiftOfSchedulersMadeForIt) {
  EXPECT_EQ(Read(R"({"_class_name": "SelfForcingFlowMatchScheduler", "shift": 6.0})", 5).shift, 6);
  EXPECT_EQ(Read(R"({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 7.0})", 8).shift, 7);
  EXPECT_EQ(Read(R"({"_class_name": "UniPCMultistepScheduler", "flow_shift": 3.0})", 8).shift, 8);
  EXPECT_THROW(Read(R"({"_class_name": "SelfForcingFlowMatchScheduler", "shift": -1})", 5), Error);
  EXPECT_THROW(Read(R"({"num_train_timesteps": 500})", 5), Error);
}

// Two blocks of one value each: x0 = x - sigma v, then (1 - sigma') x0 + sigma' noise, noise in the order of drawing.
TEST(Dmd, MovesOneBlockAfterTheOther) {
  DmdTable table{{1.0f, 0.5f}, {1000, 500}, 0, 0};
  TorchGenerator generator(5);
  TorchGenerator same(5);
  const auto scheduler = MakeDmd({table, {1, 2}, generator, DType::kF32});
  ASSERT_EQ(scheduler->timesteps().size(), 4u);
  EXPECT_EQ(scheduler->sigmas().back(), 0.0f);
  Tensor latents = Tensor::Empty({2, 3, 1, 1}, DType::kF32), prediction = Tensor::Empty({2, 3, 1, 1}, DType::kF32);
  for (int i = 0; i < 6; ++i) {
    latents.mutable_data<float>()[i] = static_cast<float>(i);
    prediction.mutable_data<float>()[i] = 0.25f;
  }
  const float* x = latents.data<float>();
  scheduler->Step(0, prediction, latents);
  const Tensor first = same.Randn({1, 2, 1, 1}, DType::kF32);
  EXPECT_FLOAT_EQ(x[0], 0.5f * (0 - 0.25f) + 0.5f * first.data<float>()[0]);
  EXPECT_FLOAT_EQ(x[3], 0.5f * (3 - 0.25f) + 0.5f * first.data<float>()[1]);
  EXPECT_EQ(x[1], 1);
  EXPECT_EQ(x[5], 5);
  const float before = x[0];
  scheduler->Step(1, prediction, latents);
  EXPECT_FLOAT_EQ(x[0], before - 0.5f * 0.25f);
  scheduler->Step(2, prediction, latents);
  const Tensor second = same.Randn({2, 2, 1, 1}, DType::kF32);  // [frames, channels]
  EXPECT_FLOAT_EQ(x[2], 0.5f * (2 - 0.25f) + 0.5f * second.data<float>()[2]);
  EXPECT_FLOAT_EQ(x[4], 0.5f * (4 - 0.25f) + 0.5f * second.data<float>()[1]);
}

}  // namespace
}  // namespace tessera
