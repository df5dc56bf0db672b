#include "schedulers/flow_match_euler.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/temporary_folder.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

FlowMatchEulerConfig ConfigOf(const std::string& text) {
  return FlowMatchEulerConfig::From(Config(nlohmann::json::parse(text), "scheduler_config.json"));
}

std::vector<float> Values(const Tensor& tensor) {
  return {tensor.data<float>(), tensor.data<float>() + tensor.numel()};
}

// One table of diffusers' scheduler: sigmas, timesteps and the trajectory under v = tanh(x) t / 1000 + 0.1.
struct Table {
  explicit Table(const std::string& name) : file(TESSERA_SOURCE_FOLDER "/tests/golden/schedulers.safetensors") {
    sigmas = Values(file.Get(name + ".sigmas"));
    timesteps = Values(file.Get(name + ".timesteps"));
    trajectory = file.Get(name + ".traj");
  }
  SafetensorsFile file;
  std::vector<float> sigmas, timesteps;
  Tensor trajectory;
};

// Every step starts from the table's own latents, so that only the step itself is judged: its velocity contains a tanh
// whose last bit differs between libraries.
void ExpectSteps(const Table& table, const FlowMatchSchedule& schedule) {
  for (size_t i = 0; i < schedule.timesteps.size(); ++i) {
    Tensor latents = table.trajectory.Narrow(0, static_cast<int64_t>(i), 1).Clone();
    Tensor velocity = Tensor::Empty(latents.shape(), DType::kF32);
    for (int64_t j = 0; j < latents.numel(); ++j) {
      velocity.mutable_data<float>()[j] = std::tanh(latents.data<float>()[j]) * schedule.timesteps[i] / 1000.0f + 0.1f;
    }
    FlowMatchEulerStep(latents, velocity, schedule.sigmas[i], schedule.sigmas[i + 1]);
    const Tensor expected = table.trajectory.Narrow(0, static_cast<int64_t>(i) + 1, 1);
    for (int64_t j = 0; j < latents.numel(); ++j) {
      const float want = expected.data<float>()[j];
      EXPECT_NEAR(latents.data<float>()[j], want, 1.2e-7f * std::max(1.0f, std::abs(want))) << "step " << i;
    }
  }
}

void ExpectTable(const std::string& name, const FlowMatchSchedule& schedule) {
  const Table table(name);
  EXPECT_EQ(schedule.sigmas, table.sigmas) << name;
  EXPECT_EQ(schedule.timesteps, table.timesteps) << name;
  ExpectSteps(table, schedule);
}

const char* const kDynamic = R"({"use_dynamic_shifting": true, "shift": 3.0})";

TEST(FlowMatchEuler, MatchesFlux2Tables) {
  const auto config = ConfigOf(kDynamic);
  ExpectTable("flux2_1024_50", MakeFlowMatchSchedule(config, 50, Flux2Mu(4096, 50)));
  ExpectTable("flux2_klein_1024_4", MakeFlowMatchSchedule(config, 4, Flux2Mu(4096, 4)));
  ExpectTable("flux2_klein_512_4", MakeFlowMatchSchedule(config, 4, Flux2Mu(1024, 4)));
  ExpectTable("flux2_2048_28", MakeFlowMatchSchedule(config, 28, Flux2Mu(16384, 28)));
}

TEST(FlowMatchEuler, MatchesQwenTableWithTerminalShift) {
  const auto config = ConfigOf(R"({"use_dynamic_shifting": true, "base_image_seq_len": 256, "max_image_seq_len": 8192,
      "base_shift": 0.5, "max_shift": 0.9, "shift_terminal": 0.02})");
  ExpectTable("qwen_1024_20", MakeFlowMatchSchedule(config, 20, LinearMu(config, 4096)));
}

TEST(FlowMatchEuler, MatchesLtxTableWithTerminalShift) {
  const auto config = ConfigOf(R"({"use_dynamic_shifting": true, "base_image_seq_len": 1024, "max_image_seq_len": 4096,
      "base_shift": 0.95, "max_shift": 2.05, "shift_terminal": 0.1})");
  ExpectTable("ltx2_30", MakeFlowMatchSchedule(config, 30, LinearMu(config, 6144)));
}

TEST(FlowMatchEuler, MatchesZImageTableWithStaticShift) {
  ExpectTable("zimage_turbo_9", MakeFlowMatchSchedule(ConfigOf(R"({"shift": 3.0})"), 9, 0));
}

TEST(FlowMatchEuler, MatchesHunyuanTableWithItsOwnGrid) {
  std::vector<double> grid;
  for (int i = 0; i < 50; ++i) grid.push_back(static_cast<double>(i) * (-1.0 / 50) + 1.0);
  ExpectTable("hunyuan_50", MakeFlowMatchSchedule(ConfigOf(R"({"shift": 7.0})"), grid, 0));
}

TEST(FlowMatchEuler, MuMatchesTheOriginalConstants) {
  EXPECT_NEAR(Flux2Mu(4096, 4), 2.2912, 5e-5);
  EXPECT_NEAR(Flux2Mu(1024, 4), 2.0307, 5e-5);
}

TEST(FlowMatchEuler, LinearTimeShiftUsesMuItself) {
  const auto config = ConfigOf(R"({"use_dynamic_shifting": true, "time_shift_type": "linear"})");
  const auto schedule = MakeFlowMatchSchedule(config, 2, 3.0);
  EXPECT_EQ(schedule.sigmas, (std::vector<float>{1.0f, 0.75f, 0.0f}));
}

TEST(FlowMatchEuler, InvertedSigmasRiseToOne) {
  const auto schedule = MakeFlowMatchSchedule(ConfigOf(R"({"invert_sigmas": true})"), 2, 0);
  EXPECT_EQ(schedule.sigmas, (std::vector<float>{0.0f, 0.5f, 1.0f}));
  EXPECT_EQ(schedule.timesteps, (std::vector<float>{0.0f, 500.0f}));
}

TEST(FlowMatchEuler, OneStepGoesFromNoiseToPicture) {
  const auto schedule = MakeFlowMatchSchedule(ConfigOf(kDynamic), 1, Flux2Mu(1024, 1));
  EXPECT_EQ(schedule.sigmas, (std::vector<float>{1.0f, 0.0f}));
  const auto terminal = MakeFlowMatchSchedule(ConfigOf(R"({"shift_terminal": 0.1})"), 1, 0);
  EXPECT_EQ(terminal.sigmas, (std::vector<float>{1.0f, 0.0f}));
}

TEST(FlowMatchEuler, HugePicturesKeepFiniteSigmas) {
  for (const float sigma : MakeFlowMatchSchedule(ConfigOf(kDynamic), 8, Flux2Mu(1 << 20, 8)).sigmas) {
    EXPECT_TRUE(std::isfinite(sigma));
  }
}

TEST(FlowMatchEuler, RoundsBf16LatentsAfterTheStep) {
  Tensor latents = Tensor::Zeros({40}, DType::kBF16), prediction = Tensor::Empty({40}, DType::kF32);
  for (int i = 0; i < 40; ++i) {
    latents.mutable_data<BFloat16>()[i] = ToBFloat16(0.37f * static_cast<float>(i));
    prediction.mutable_data<float>()[i] = 1.0f / static_cast<float>(i + 1);
  }
  const Tensor before = latents.Clone();
  FlowMatchEulerStep(latents, prediction, 1.0f, 0.25f);
  for (int i = 0; i < 40; ++i) {
    const float step = ToFloat(before.data<BFloat16>()[i]) + (0.25f - 1.0f) * prediction.data<float>()[i];
    EXPECT_EQ(latents.data<BFloat16>()[i].bits, ToBFloat16(step).bits) << i;
  }
}

TEST(FlowMatchEuler, RefusesWhatIsNotImplementedByName) {
  const auto refusal = [](const std::string& text) { return ErrorOf([&] { ConfigOf(text); }); };
  for (const char* key : {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "stochastic_sampling"}) {
    EXPECT_THAT(refusal(std::string("{\"") + key + "\": true}"), testing::HasSubstr(key));
  }
  EXPECT_THAT(refusal(R"({"time_shift_type": "cosine"})"), testing::HasSubstr("'cosine'"));
  EXPECT_THAT(refusal(R"({"_class_name": "UniPCMultistepScheduler"})"), testing::HasSubstr("UniPCMultistepScheduler"));
}

TEST(FlowMatchEuler, RefusesNumbersThatMakeNoSense) {
  const auto refusal = [](const std::string& text) { return ErrorOf([&] { ConfigOf(text); }); };
  EXPECT_THAT(refusal(R"({"shift": 0})"), testing::HasSubstr("shift"));
  EXPECT_THAT(refusal(R"({"shift": -3})"), testing::HasSubstr("shift"));
  EXPECT_THAT(refusal(R"({"shift_terminal": 1.5})"), testing::HasSubstr("shift_terminal"));
  EXPECT_THAT(refusal(R"({"num_train_timesteps": 0})"), testing::HasSubstr("num_train_timesteps"));
  EXPECT_THAT(refusal(R"({"base_image_seq_len": 4096, "max_image_seq_len": 4096})"),
              testing::HasSubstr("max_image_seq_len"));
  EXPECT_THAT(ErrorOf([] { MakeFlowMatchSchedule(FlowMatchEulerConfig{}, 0, 0); }),
              testing::HasSubstr("0 denoising steps"));
}

}  // namespace
}  // namespace tessera
