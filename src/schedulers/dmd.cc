#include "schedulers/dmd.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"

namespace tessera {
namespace {

constexpr double kMostShift = 1000;

struct TrainTable {
  std::vector<float> sigmas, timesteps;

  explicit TrainTable(const DmdConfig& config) {
    const auto count = static_cast<float>(kDmdTrainTimesteps), shift = static_cast<float>(config.shift);
    for (int64_t i = kDmdTrainTimesteps; i > 0; --i) {
      const float even = static_cast<float>(i) / count;
      sigmas.push_back(shift * even / (1.0f + (shift - 1.0f) * even));
      timesteps.push_back(sigmas.back() * count);
    }
  }

  size_t Nearest(double timestep) const {
    const auto away = [&](float entry) { return std::abs(static_cast<double>(entry) - timestep); };
    const auto least =
        std::min_element(timesteps.begin(), timesteps.end(), [&](float a, float b) { return away(a) < away(b); });
    return static_cast<size_t>(least - timesteps.begin());
  }
};

class Dmd final : public Scheduler {
 public:
  explicit Dmd(DmdRollout rollout) : rollout_(std::move(rollout)) {
    for (size_t i = 0; i < rollout_.blocks.size(); ++i) {
      sigmas_.insert(sigmas_.end(), rollout_.table.sigmas.begin(), rollout_.table.sigmas.end());
      timesteps_.insert(timesteps_.end(), rollout_.table.timesteps.begin(), rollout_.table.timesteps.end());
      first_frames_.push_back(i == 0 ? 0 : first_frames_.back() + rollout_.blocks[i - 1]);
    }
    sigmas_.push_back(0.0f);
  }

  std::string_view name() const noexcept override { return "Dmd"; }
  std::span<const float> sigmas() const noexcept override { return sigmas_; }
  std::span<const float> timesteps() const noexcept override { return timesteps_; }

  void Step(int step, const Tensor& prediction, Tensor& latents) noexcept override {
    const size_t steps = rollout_.table.sigmas.size();
    const size_t block = static_cast<size_t>(step) / steps, at = static_cast<size_t>(step) % steps;
    const bool high = at < rollout_.table.high_steps;
    Estimate(block, rollout_.table.sigmas[at] - (high ? rollout_.table.boundary_sigma : 0.0f), prediction, latents);
    if (at + 1 == steps) return;
    // Drawn whether it is needed or not: the numbers of later steps must not depend on that.
    const Tensor noise = Draw(block, latents);
    if (high && at + 1 == rollout_.table.high_steps) return;
    AddNoise(block, MixOf(at + 1), noise, latents);
  }

  // The noise of the steps before is drawn again.
  void Restore(int step, const Tensor& latents, const TensorState& /*state*/) override {
    const auto steps = static_cast<int>(rollout_.table.sigmas.size());
    for (int i = 0; i < step; ++i) {
      if (i % steps + 1 < steps) static_cast<void>(Draw(static_cast<size_t>(i / steps), latents));
    }
  }

 private:
  struct Mix {
    float latents, noise;
  };
  // Of the first expert: from the boundary's noise level up to the step's.
  Mix MixOf(size_t at) const noexcept {
    const float sigma = rollout_.table.sigmas[at], boundary = rollout_.table.boundary_sigma;
    if (at >= rollout_.table.high_steps) return {1.0f - sigma, sigma};
    const float share = (1.0f - sigma) / (1.0f - boundary);
    return {share, std::sqrt(std::max(0.0f, sigma * sigma - share * boundary * (share * boundary)))};
  }

  // body(value of the block, its place in noise of [frames, channels, height, width])
  template <class Body>
  void ForBlock(size_t block, Tensor& latents, const Body& body) const noexcept {
    const int64_t plane = latents.dim(2) * latents.dim(3), frames = rollout_.blocks[block];
    for (int64_t c = 0; c < latents.dim(0); ++c) {
      for (int64_t t = 0; t < frames; ++t) {
        const int64_t from = (c * latents.dim(1) + first_frames_[block] + t) * plane;
        for (int64_t i = 0; i < plane; ++i) body(from + i, (t * latents.dim(0) + c) * plane + i);
      }
    }
  }

  void Estimate(size_t block, float sigma, const Tensor& prediction, Tensor& latents) const noexcept {
    const float* v = prediction.data<float>();
    float* x = latents.mutable_data<float>();
    ForBlock(block, latents, [&](int64_t at, int64_t) {
      x[at] = static_cast<float>(static_cast<double>(x[at]) - static_cast<double>(sigma) * static_cast<double>(v[at]));
    });
  }

  Tensor Draw(size_t block, const Tensor& latents) noexcept {
    const Shape shape{rollout_.blocks[block], latents.dim(0), latents.dim(2), latents.dim(3)};
    return rollout_.generator.Randn(shape, rollout_.noise_type).To(DType::kF32);
  }

  void AddNoise(size_t block, Mix mix, const Tensor& noise, Tensor& latents) const noexcept {
    const float* e = noise.data<float>();
    float* x = latents.mutable_data<float>();
    ForBlock(block, latents, [&](int64_t at, int64_t drawn) { x[at] = mix.latents * x[at] + mix.noise * e[drawn]; });
  }

  DmdRollout rollout_;
  std::vector<float> sigmas_, timesteps_;
  std::vector<int64_t> first_frames_;
};

}  // namespace

DmdConfig DmdConfig::From(const Config& config, double fallback) {
  DmdConfig result;
  result.shift = fallback;
  static_cast<void>(config.Int("num_train_timesteps", kDmdTrainTimesteps, kDmdTrainTimesteps, kDmdTrainTimesteps));
  const std::string name = config.String("_class_name", "");
  if (name == "FlowMatchEulerDiscreteScheduler" || name == "SelfForcingFlowMatchScheduler") {
    result.shift = config.Float("shift", fallback);
  }
  if (!(result.shift > 0 && result.shift <= kMostShift)) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: shift {} makes no sense; it must lie between 0 and {}",
                                                config.file(), result.shift, kMostShift));
  }
  return result;
}

DmdTable MakeDmdTable(const DmdConfig& config, const std::vector<int64_t>& steps) {
  const TrainTable train(config);
  DmdTable table;
  for (const int64_t step : steps) {
    const bool is_place = config.steps == DmdConfig::Steps::kPlaces;
    const size_t at =
        is_place ? static_cast<size_t>(kDmdTrainTimesteps - step) : train.Nearest(static_cast<double>(step));
    table.sigmas.push_back(train.sigmas[at]);
    table.timesteps.push_back(is_place ? train.timesteps[at] : static_cast<float>(step));
    if (config.boundary && static_cast<double>(table.timesteps.back()) >= *config.boundary) ++table.high_steps;
  }
  if (config.boundary) table.boundary_sigma = train.sigmas[train.Nearest(*config.boundary)];
  return table;
}

std::unique_ptr<Scheduler> MakeDmd(DmdRollout rollout) { return std::make_unique<Dmd>(std::move(rollout)); }

}  // namespace tessera
