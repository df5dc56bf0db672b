#include "schedulers/unipc.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/text.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr int kMostOrder = 3;
constexpr int kMostSteps = 100000;
constexpr double kBelowOne = 1e-6;  // what the first sigma is lowered by where it is 1: its log-SNR must be finite

[[noreturn]] void Refuse(const Config& config, const std::string& what, const std::string& works) {
  throw Error(ErrorKind::kUnsupported, fmt::format("{}: {} is not supported; {}", config.file(), what, works));
}

void RequireWord(const Config& config, const std::string& key, const std::string& wanted) {
  const std::string word = config.String(key, wanted);
  if (word != wanted) Refuse(config, fmt::format("{} '{}'", key, Printable(word)), fmt::format("'{}' is", wanted));
}

// Solves for the weights of the differences: sum_j r_j^(i) rho_j = b_i, by elimination with pivots.
std::array<float, kMostOrder> Solve(std::array<std::array<float, kMostOrder>, kMostOrder> rows,
                                    std::array<float, kMostOrder> right, int order) noexcept {
  for (int pivot = 0; pivot < order; ++pivot) {
    int best = pivot;
    for (int i = pivot + 1; i < order; ++i) {
      if (std::abs(rows[size_t(i)][size_t(pivot)]) > std::abs(rows[size_t(best)][size_t(pivot)])) best = i;
    }
    std::swap(rows[size_t(pivot)], rows[size_t(best)]);
    std::swap(right[size_t(pivot)], right[size_t(best)]);
    for (int i = pivot + 1; i < order; ++i) {
      const float factor = rows[size_t(i)][size_t(pivot)] / rows[size_t(pivot)][size_t(pivot)];
      for (int j = pivot; j < order; ++j) rows[size_t(i)][size_t(j)] -= factor * rows[size_t(pivot)][size_t(j)];
      right[size_t(i)] -= factor * right[size_t(pivot)];
    }
  }
  for (int i = order - 1; i >= 0; --i) {
    for (int j = i + 1; j < order; ++j) right[size_t(i)] -= rows[size_t(i)][size_t(j)] * right[size_t(j)];
    right[size_t(i)] /= rows[size_t(i)][size_t(i)];
  }
  return right;
}

// A transition between two sigmas written as  a * x + b * m0 + sum_k c_k * (m_k - m0)  with the estimates m of x0.
struct Transition {
  float of_sample = 0, of_estimate = 0;
  std::array<float, kMostOrder> of_difference{};  // earlier estimates; the last one used: the estimate at the target
};

class UniPc final : public Scheduler {
 public:
  UniPc(const UniPcConfig& config, UniPcTable table) : config_(config), table_(std::move(table)) {}

  std::string_view name() const noexcept override { return "UniPC"; }
  std::span<const float> sigmas() const noexcept override { return table_.sigmas; }
  std::span<const float> timesteps() const noexcept override { return table_.timesteps; }

  void Step(int step, const Tensor& prediction, Tensor& latents) noexcept override {
    TESSERA_CHECK(latents.dtype() == DType::kF32 && prediction.dtype() == DType::kF32);
    TESSERA_CHECK(latents.numel() == prediction.numel() && latents.contiguous() && prediction.contiguous());
    if (step == 0) Begin(latents.numel());
    Remember(step, prediction, latents);
    float* sample = latents.mutable_data<float>();
    if (step > 0 && Corrects(step)) Move(Corrector(step), last_.data(), sample, kWithTarget);
    std::memcpy(last_.data(), sample, latents.bytes());
    order_ = OrderOf(step);
    Move(Predictor(step), last_.data(), sample, kWithoutTarget);
    done_ = step + 1;
  }

  TensorState State() const override {
    TensorState state;
    const auto add = [&](const std::string& name, const std::vector<float>& values) {
      state.Add(name, Tensor::BorrowConst(values.data(), {static_cast<int64_t>(values.size())}, DType::kF32, nullptr));
    };
    if (done_ == 0) return state;
    add("last", last_);
    for (int i = 0; i < Remembered(done_); ++i) add(EstimateName(i), estimates_[size_t(i)]);
    return state;
  }

  void Restore(int step, const Tensor& latents, const TensorState& state) override {
    Begin(latents.numel());
    if (step == 0) return;
    const auto take = [&](const std::string& name, std::vector<float>& values) {
      const Tensor& tensor = state.Get(name, {latents.numel()}, DType::kF32);
      std::memcpy(values.data(), tensor.raw(), tensor.bytes());
    };
    take("last", last_);
    for (int i = 0; i < Remembered(step); ++i) take(EstimateName(i), estimates_[size_t(i)]);
    order_ = OrderOf(step - 1);
    done_ = step;
  }

 private:
  enum Target { kWithoutTarget, kWithTarget };

  static std::string EstimateName(int age) { return fmt::format("estimate_{}", age); }
  // Estimates that steps after `done` of them may still read.
  int Remembered(int done) const noexcept { return std::min(done, config_.solver_order); }

  void Begin(int64_t count) noexcept {
    for (auto& estimate : estimates_) estimate.assign(static_cast<size_t>(count), 0.0f);
    last_.assign(static_cast<size_t>(count), 0.0f);
  }

  // estimates_[0] is the newest: x0 = x - sigma * v.
  void Remember(int step, const Tensor& prediction, const Tensor& latents) noexcept {
    std::rotate(estimates_.begin(), estimates_.end() - 1, estimates_.end());
    const float sigma = table_.sigmas[static_cast<size_t>(step)];
    const float *sample = latents.data<float>(), *velocity = prediction.data<float>();
    ParallelFor(latents.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) estimates_[0][static_cast<size_t>(i)] = sample[i] - sigma * velocity[i];
    });
  }

  bool Corrects(int step) const noexcept {
    const auto& off = config_.disable_corrector;
    return std::find(off.begin(), off.end(), step - 1) == off.end();
  }

  int OrderOf(int step) const noexcept {
    const int steps = static_cast<int>(table_.timesteps.size());
    const int wanted = config_.lower_order_final ? std::min(config_.solver_order, steps - step) : config_.solver_order;
    return std::min(wanted, step + 1);
  }

  float LogSnr(int step) const noexcept {
    const float sigma = table_.sigmas[static_cast<size_t>(step)];
    return std::log(1.0f - sigma) - std::log(sigma);
  }

  // The transition from -> from + 1 with `order_` terms. Ratios r_k place the earlier estimates in units of the step;
  // with a target the estimate there is one more term at ratio 1.
  Transition Between(int from, Target target) const noexcept {
    const float sigma = table_.sigmas[size_t(from)], next = table_.sigmas[size_t(from) + 1];
    const float h = LogSnr(from + 1) - LogSnr(from), hh = -h;
    const float phi1 = std::expm1(hh);
    const float alpha = 1.0f - next;
    Transition moves{next / sigma, -alpha * phi1, {}};
    const float scale = config_.solver == UniPcConfig::Solver::kBh1 ? hh : phi1;
    std::array<float, kMostOrder> ratio{};
    for (int k = 0; k + 1 < order_; ++k) ratio[size_t(k)] = (LogSnr(from - k - 1) - LogSnr(from)) / h;
    ratio[size_t(order_) - 1] = 1.0f;
    const int terms = target == kWithTarget ? order_ : order_ - 1;
    const auto rho = Weights(ratio, hh, phi1, scale, terms);
    for (int k = 0; k < terms; ++k) moves.of_difference[size_t(k)] = -alpha * scale * rho[size_t(k)] / ratio[size_t(k)];
    return moves;
  }

  static std::array<float, kMostOrder> Weights(const std::array<float, kMostOrder>& ratio, float hh, float phi1,
                                               float scale, int terms) noexcept {
    if (terms == 1) return {0.5f};
    std::array<std::array<float, kMostOrder>, kMostOrder> rows{};
    std::array<float, kMostOrder> right{};
    float phi = phi1 / hh - 1.0f, factorial = 1.0f;
    for (int i = 0; i < terms; ++i) {
      for (int j = 0; j < terms; ++j) rows[size_t(i)][size_t(j)] = std::pow(ratio[size_t(j)], static_cast<float>(i));
      right[size_t(i)] = phi * factorial / scale;
      factorial *= static_cast<float>(i + 2);
      phi = phi / hh - 1.0f / factorial;
    }
    return Solve(rows, right, terms);
  }

  // The newest estimate is the one at the target; m0 is the one before.
  Transition Corrector(int step) const noexcept { return Between(step - 1, kWithTarget); }

  Transition Predictor(int step) const noexcept {
    if (table_.sigmas[size_t(step) + 1] == 0.0f) return {0.0f, 1.0f, {}};
    return Between(step, kWithoutTarget);
  }

  void Move(const Transition& moves, const float* from, float* to, Target target) const noexcept {
    const size_t newest = target == kWithTarget ? 1 : 0;
    const float* m0 = estimates_[newest].data();
    ParallelFor(static_cast<int64_t>(last_.size()), 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float sum = 0;
        for (int k = 0; k < order_; ++k) {
          const bool is_target = target == kWithTarget && k == order_ - 1;
          if (!is_target && k == order_ - 1) break;
          const float* m = is_target ? estimates_[0].data() : estimates_[newest + size_t(k) + 1].data();
          sum += moves.of_difference[size_t(k)] * (m[i] - m0[i]);
        }
        to[i] = moves.of_sample * from[i] + moves.of_estimate * m0[i] + sum;
      }
    });
  }

  const UniPcConfig config_;
  const UniPcTable table_;
  int order_ = 1, done_ = 0;
  std::array<std::vector<float>, kMostOrder + 1> estimates_;
  std::vector<float> last_;  // the sample before the last predictor
};

}  // namespace

UniPcConfig UniPcConfig::From(const Config& config) {
  RequireWord(config, "_class_name", "UniPCMultistepScheduler");
  RequireWord(config, "prediction_type", "flow_prediction");
  RequireWord(config, "final_sigmas_type", "zero");
  if (!config.Bool("use_flow_sigmas", false)) Refuse(config, "use_flow_sigmas false", "true is");
  if (!config.Bool("predict_x0", true)) Refuse(config, "predict_x0 false", "true is");
  for (const char* key :
       {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "thresholding", "use_dynamic_shifting"}) {
    if (config.Bool(key, false)) Refuse(config, fmt::format("{} true", key), "false is");
  }
  UniPcConfig result;
  result.num_train_timesteps = config.Int("num_train_timesteps", result.num_train_timesteps, 1, 1000000);
  result.flow_shift = config.Float("flow_shift", result.flow_shift);
  if (!(result.flow_shift > 0) || !std::isfinite(result.flow_shift)) {
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: flow_shift {} makes no sense; it must be above 0", config.file(), result.flow_shift));
  }
  result.solver_order = static_cast<int>(config.Int("solver_order", result.solver_order, 1, kMostOrder));
  const std::string solver = config.String("solver_type", "bh2");
  if (solver != "bh1" && solver != "bh2") {
    Refuse(config, fmt::format("solver_type '{}'", Printable(solver)), "supported: bh1, bh2");
  }
  result.solver = solver == "bh1" ? Solver::kBh1 : Solver::kBh2;
  result.lower_order_final = config.Bool("lower_order_final", result.lower_order_final);
  result.disable_corrector = config.Ints("disable_corrector", {});
  return result;
}

UniPcTable MakeUniPcTable(const UniPcConfig& config, int steps) {
  if (steps < 1 || steps > kMostSteps) {
    throw Error(ErrorKind::kUsage, fmt::format("{} denoising steps: 1 to {} are possible", steps, kMostSteps));
  }
  const auto train = static_cast<double>(config.num_train_timesteps);
  const double stride = (1.0 / train - 1.0) / steps;
  UniPcTable table;
  for (int i = 0; i < steps; ++i) {
    const double even = static_cast<double>(i) * stride + 1.0;
    double sigma = config.flow_shift * even / (1.0 + (config.flow_shift - 1.0) * even);
    if (i == 0 && std::abs(sigma - 1.0) < kBelowOne) sigma -= kBelowOne;
    table.sigmas.push_back(static_cast<float>(sigma));
    table.timesteps.push_back(static_cast<float>(std::trunc(sigma * train)));
  }
  table.sigmas.push_back(0.0f);
  return table;
}

std::unique_ptr<Scheduler> MakeUniPc(const UniPcConfig& config, int steps) {
  return std::make_unique<UniPc>(config, MakeUniPcTable(config, steps));
}

}  // namespace tessera
