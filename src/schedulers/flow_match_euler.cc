#include "schedulers/flow_match_euler.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr int64_t kMostSteps = 100000;
constexpr double kMostMu = 80;  // exp(mu) stays a float; every sigma is 1 long before

[[noreturn]] void Refuse(const Config& config, const std::string& key, const std::string& value,
                         const std::string& works) {
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{}: {} {} is not supported; {}", config.file(), key, Printable(value), works));
}

// numpy's linspace: start + i * step, the last value exact.
std::vector<double> Linspace(double start, double stop, int count) {
  std::vector<double> values(static_cast<size_t>(count), start);
  const double step = count > 1 ? (stop - start) / (count - 1) : 0.0;
  for (int i = 1; i < count; ++i) values[static_cast<size_t>(i)] = static_cast<double>(i) * step + start;
  if (count > 1) values.back() = stop;
  return values;
}

// Scalars are rounded to f32 first: a float32 array times a Python float stays in float32.
float ShiftSigma(const FlowMatchEulerConfig& config, double mu, float sigma) {
  if (!config.use_dynamic_shifting) {
    const auto shift = static_cast<float>(config.shift);
    return shift * sigma / (1.0f + static_cast<float>(config.shift - 1.0) * sigma);
  }
  const auto scale = static_cast<float>(config.exponential_time_shift ? std::exp(std::min(mu, kMostMu)) : mu);
  return scale / (scale + (1.0f / sigma - 1.0f));
}

// Stretches 1 - sigma so that the last sigma becomes `terminal`.
void StretchToTerminal(double terminal, std::vector<float>& sigmas) {
  const float last = 1.0f - sigmas.back();
  if (last == 0.0f) return;
  const auto scale = static_cast<float>(static_cast<double>(last) / (1.0 - terminal));
  for (float& sigma : sigmas) sigma = 1.0f - (1.0f - sigma) / scale;
}

template <class T>
void StepElements(T* latents, const float* prediction, float step, int64_t count) {
  ParallelFor(count, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) Store(ToFloat(latents[i]) + step * prediction[i], latents + i);
  });
}

void CheckNumbers(const FlowMatchEulerConfig& config, const std::string& file) {
  const auto fail = [&](const char* key, double value, const char* works) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: {} {} makes no sense; {}", file, key, value, works));
  };
  if (!(config.shift > 0)) fail("shift", config.shift, "it must be above 0");
  if (config.shift_terminal && !(*config.shift_terminal > 0 && *config.shift_terminal < 1)) {
    fail("shift_terminal", *config.shift_terminal, "it must lie between 0 and 1");
  }
  if (config.max_image_seq_len <= config.base_image_seq_len) {
    fail("max_image_seq_len", static_cast<double>(config.max_image_seq_len), "it must be above base_image_seq_len");
  }
}

}  // namespace

FlowMatchEulerConfig FlowMatchEulerConfig::From(const Config& config) {
  const std::string class_name = config.String("_class_name", "FlowMatchEulerDiscreteScheduler");
  if (class_name != "FlowMatchEulerDiscreteScheduler") {
    Refuse(config, "scheduler class", "'" + class_name + "'", "supported: FlowMatchEulerDiscreteScheduler");
  }
  for (const char* key : {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "stochastic_sampling"}) {
    if (config.Bool(key, false)) Refuse(config, key, "true", "set it to false");
  }
  const std::string kind = config.String("time_shift_type", "exponential");
  if (kind != "exponential" && kind != "linear") {
    Refuse(config, "time_shift_type", "'" + kind + "'", "supported: exponential, linear");
  }
  FlowMatchEulerConfig result;
  result.num_train_timesteps = config.Int("num_train_timesteps", result.num_train_timesteps, 1, 1000000);
  result.shift = config.Float("shift", result.shift);
  result.use_dynamic_shifting = config.Bool("use_dynamic_shifting", result.use_dynamic_shifting);
  result.base_shift = config.Float("base_shift", result.base_shift);
  result.max_shift = config.Float("max_shift", result.max_shift);
  result.base_image_seq_len = config.Int("base_image_seq_len", result.base_image_seq_len, 1);
  result.max_image_seq_len = config.Int("max_image_seq_len", result.max_image_seq_len, 1);
  // The original tests this key for truth: 0 means none.
  const double terminal = config.Float("shift_terminal", 0.0);
  if (terminal != 0.0) result.shift_terminal = terminal;
  result.exponential_time_shift = kind == "exponential";
  result.invert_sigmas = config.Bool("invert_sigmas", result.invert_sigmas);
  CheckNumbers(result, config.file());
  return result;
}

FlowMatchSchedule MakeFlowMatchSchedule(const FlowMatchEulerConfig& config, int steps, double mu) {
  if (steps < 1 || steps > kMostSteps) {
    throw Error(ErrorKind::kUsage, fmt::format("{} denoising steps: 1 to {} are possible", steps, kMostSteps));
  }
  return MakeFlowMatchSchedule(config, Linspace(1.0, 1.0 / steps, steps), mu);
}

FlowMatchSchedule MakeFlowMatchSchedule(const FlowMatchEulerConfig& config, std::span<const double> grid, double mu) {
  TESSERA_CHECK(!grid.empty());
  FlowMatchSchedule schedule;
  for (const double sigma : grid) schedule.sigmas.push_back(ShiftSigma(config, mu, static_cast<float>(sigma)));
  if (config.shift_terminal) StretchToTerminal(*config.shift_terminal, schedule.sigmas);
  if (config.invert_sigmas) {
    for (float& sigma : schedule.sigmas) sigma = 1.0f - sigma;
  }
  for (const float sigma : schedule.sigmas) {
    schedule.timesteps.push_back(sigma * static_cast<float>(config.num_train_timesteps));
  }
  schedule.sigmas.push_back(config.invert_sigmas ? 1.0f : 0.0f);
  return schedule;
}

FlowMatchSchedule MakeDefaultFlowMatchSchedule(const FlowMatchEulerConfig& config, int steps) {
  if (steps < 1 || steps > kMostSteps) {
    throw Error(ErrorKind::kUsage, fmt::format("{} denoising steps: 1 to {} are possible", steps, kMostSteps));
  }
  const auto train = static_cast<double>(config.num_train_timesteps);
  const double least = static_cast<double>(ShiftSigma(config, 0, static_cast<float>(1.0 / train)));
  FlowMatchSchedule schedule;
  for (const double timestep : Linspace(train, least * train, steps)) {
    const double sigma = timestep / train;
    const double shifted =
        config.use_dynamic_shifting ? sigma : config.shift * sigma / (1.0 + (config.shift - 1.0) * sigma);
    schedule.sigmas.push_back(static_cast<float>(shifted));
    schedule.timesteps.push_back(schedule.sigmas.back() * static_cast<float>(train));
  }
  schedule.sigmas.push_back(0.0f);
  return schedule;
}

double LinearMu(const FlowMatchEulerConfig& config, int64_t image_tokens) noexcept {
  const double slope = (config.max_shift - config.base_shift) /
                       static_cast<double>(config.max_image_seq_len - config.base_image_seq_len);
  return static_cast<double>(image_tokens) * slope +
         (config.base_shift - slope * static_cast<double>(config.base_image_seq_len));
}

double Flux2Mu(int64_t image_tokens, int steps) noexcept {
  constexpr double kSlope10 = 8.73809524e-05, kOffset10 = 1.89833333;  // at 10 steps
  constexpr double kSlope200 = 0.00016927, kOffset200 = 0.45666666;    // at 200 steps
  const auto tokens = static_cast<double>(image_tokens);
  const double at_200 = kSlope200 * tokens + kOffset200;
  if (image_tokens > 4300) return at_200;
  const double at_10 = kSlope10 * tokens + kOffset10;
  const double slope = (at_200 - at_10) / 190.0;
  return slope * steps + (at_200 - 200.0 * slope);
}

void FlowMatchEulerStep(Tensor& latents, const Tensor& prediction, float sigma, float sigma_next) noexcept {
  TESSERA_CHECK(latents.shape() == prediction.shape() && latents.contiguous() && prediction.contiguous());
  const float step = sigma_next - sigma;
  if (latents.dtype() == DType::kF32) {
    StepElements(latents.mutable_data<float>(), prediction.data<float>(), step, latents.numel());
  } else {
    StepElements(latents.mutable_data<BFloat16>(), prediction.data<float>(), step, latents.numel());
  }
}

}  // namespace tessera
