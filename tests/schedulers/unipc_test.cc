#include "schedulers/unipc.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/temporary_folder.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

std::vector<float> Values(const Tensor& tensor) {
  return {tensor.data<float>(), tensor.data<float>() + tensor.numel()};
}

UniPcConfig ConfigOf(const std::string& more) {
  const std::string text = R"({"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction",
      "use_flow_sigmas": true)" +
                           more + "}";
  return UniPcConfig::From(Config(nlohmann::json::parse(text), "scheduler_config.json"));
}

// diffusers' scheduler under v = tanh(x) t / 1000 + 0.1, a whole trajectory.
void ExpectTrajectory(const std::string& name, const UniPcConfig& config, int steps) {
  const SafetensorsFile file(TESSERA_SOURCE_FOLDER "/tests/golden/schedulers.safetensors");
  const auto scheduler = MakeUniPc(config, steps);
  EXPECT_EQ(Values(file.Get(name + ".sigmas")),
            std::vector<float>(scheduler->sigmas().begin(), scheduler->sigmas().end()));
  const Tensor timesteps = file.Get(name + ".timesteps").To(DType::kF32);
  EXPECT_EQ(Values(timesteps), std::vector<float>(scheduler->timesteps().begin(), scheduler->timesteps().end()));
  const Tensor trajectory = file.Get(name + ".traj");
  Tensor latents = trajectory.Narrow(0, 0, 1).Clone();
  for (int i = 0; i < steps; ++i) {
    Tensor velocity = Tensor::Empty(latents.shape(), DType::kF32);
    for (int64_t j = 0; j < latents.numel(); ++j) {
      velocity.mutable_data<float>()[j] =
          std::tanh(latents.data<float>()[j]) * scheduler->timesteps()[static_cast<size_t>(i)] / 1000.0f + 0.1f;
    }
    scheduler->Step(i, velocity, latents);
    const Tensor expected = trajectory.Narrow(0, i + 1, 1);
    for (int64_t j = 0; j < latents.numel(); ++j) {
      const float want = expected.data<float>()[j];
      ASSERT_NEAR(latents.data<float>()[j], want, 4e-6f * std::max(1.0f, std::abs(want))) << name << " step " << i;
    }
  }
}

TEST(UniPc, FollowsTheOriginalsTrajectories) {
  ExpectTrajectory("wan_unipc_s3_50", ConfigOf(R"(, "flow_shift": 3.0)"), 50);
  ExpectTrajectory("wan_unipc_s5_30", ConfigOf(R"(, "flow_shift": 5.0)"), 30);
  ExpectTrajectory("wan_unipc_s3_4", ConfigOf(R"(, "flow_shift": 3.0)"), 4);
}

// The flow x = (1 - s) x0 + s e has the exact velocity e - x0: every order must land on x0 from anywhere.
TEST(UniPc, StraightFlowsEndAtTheirTarget) {
  for (const int order : {1, 2, 3}) {
    for (const char* solver : {"bh1", "bh2"}) {
      const auto config = ConfigOf(R"(, "flow_shift": 5.0, "solver_order": )" + std::to_string(order) +
                                   R"(, "solver_type": ")" + solver + "\"");
      const auto scheduler = MakeUniPc(config, 12);
      const float target = -0.75f, noise = 1.5f;
      const float first = scheduler->sigmas()[0];
      Tensor latents = Tensor::Empty({1}, DType::kF32), velocity = Tensor::Empty({1}, DType::kF32);
      latents.mutable_data<float>()[0] = (1 - first) * target + first * noise;
      velocity.mutable_data<float>()[0] = noise - target;
      for (int i = 0; i < 12; ++i) {
        scheduler->Step(i, velocity, latents);
        const float sigma = scheduler->sigmas()[static_cast<size_t>(i) + 1];
        EXPECT_NEAR(latents.data<float>()[0], (1 - sigma) * target + sigma * noise, 2e-5f) << order << solver << i;
      }
    }
  }
}

TEST(UniPc, ASchedulerStartsAfresh) {
  const auto scheduler = MakeUniPc(ConfigOf(""), 5);
  std::vector<float> ends;
  for (int round = 0; round < 2; ++round) {
    Tensor latents = Tensor::Empty({1}, DType::kF32), velocity = Tensor::Empty({1}, DType::kF32);
    latents.mutable_data<float>()[0] = 0.3f;
    for (int i = 0; i < 5; ++i) {
      velocity.mutable_data<float>()[0] = std::sin(latents.data<float>()[0]);
      scheduler->Step(i, velocity, latents);
    }
    ends.push_back(latents.data<float>()[0]);
  }
  EXPECT_EQ(ends[0], ends[1]);
}

TEST(UniPc, NamesWhatItCannotDo) {
  EXPECT_THAT(ErrorOf([] { ConfigOf(R"(, "solver_type": "heun")"); }), HasSubstr("solver_type 'heun'"));
  EXPECT_THAT(ErrorOf([] { ConfigOf(R"(, "use_karras_sigmas": true)"); }), HasSubstr("use_karras_sigmas true"));
  EXPECT_THAT(ErrorOf([] { ConfigOf(R"(, "flow_shift": 0)"); }), HasSubstr("flow_shift 0"));
  EXPECT_THAT(ErrorOf([] { ConfigOf(R"(, "solver_order": 4)"); }), HasSubstr("solver_order"));
  EXPECT_THAT(ErrorOf([] { MakeUniPc(ConfigOf(""), 0); }), HasSubstr("0 denoising steps"));
}

}  // namespace
}  // namespace tessera
