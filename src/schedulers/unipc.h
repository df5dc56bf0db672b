// UniPCMultistepScheduler on flow sigmas: a predictor and a corrector of low order (Zhao et al., arXiv 2302.04867),
// with diffusers' numerics in f32.
#pragma once
#include <memory>
#include <vector>

#include "base/config.h"
#include "schedulers/scheduler.h"

namespace tessera {

struct UniPcConfig {
  int64_t num_train_timesteps = 1000;
  double flow_shift = 1.0;
  int solver_order = 2;  // 1 to 3
  enum class Solver { kBh1, kBh2 } solver = Solver::kBh2;
  bool lower_order_final = true;
  std::vector<int64_t> disable_corrector = {};  // steps after which the predictor's result stays as it is
  // Throws Error{kFormat, kUnsupported}: only flow prediction of x0 on flow sigmas is implemented.
  static UniPcConfig From(const Config& config);
};

// sigmas: steps + 1, the last one 0; timesteps: whole numbers.
struct UniPcTable {
  std::vector<float> sigmas, timesteps;
};
UniPcTable MakeUniPcTable(const UniPcConfig& config, int steps);  // throws Error{kUsage}

// Latents and predictions are f32 and contiguous; the scheduler keeps `solver_order` earlier estimates.
std::unique_ptr<Scheduler> MakeUniPc(const UniPcConfig& config, int steps);

}  // namespace tessera
