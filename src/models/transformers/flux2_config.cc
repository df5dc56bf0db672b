// FLUX.2's configuration and what follows from it without weights: attention sites and costs.
#include <cmath>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "models/cost_meter.h"
#include "models/transformers/flux2_transformer.h"

namespace tessera {
namespace {

constexpr int64_t kMostWidth = int64_t{1} << 20;
constexpr int64_t kMostLayers = 4096;

[[noreturn]] void Reject(const Config& config, ErrorKind kind, const std::string& why) {
  throw Error(kind, fmt::format("{}: {}", config.file(), why));
}

void CheckAxes(const Flux2TransformerConfig& sizes, const Config& config) {
  int64_t sum = 0;
  for (const int64_t dims : sizes.axes_dims_rope) {
    if (dims < 2 || dims % 2 != 0 || dims > sizes.attention_head_dim) {
      Reject(config, ErrorKind::kFormat,
             fmt::format(
                 "axes_dims_rope has {}; every axis takes an even number of channels, at most attention_head_dim {}",
                 dims, sizes.attention_head_dim));
    }
    sum += dims;
  }
  if (sum != sizes.attention_head_dim) {
    Reject(config, ErrorKind::kFormat,
           fmt::format("axes_dims_rope [{}] sums to {}, but attention_head_dim is {}",
                       fmt::join(sizes.axes_dims_rope, ", "), sum, sizes.attention_head_dim));
  }
  if (sizes.axes_dims_rope.size() != 4) {
    Reject(config, ErrorKind::kUnsupported,
           fmt::format("axes_dims_rope has {} axes; FLUX.2's positions have 4", sizes.axes_dims_rope.size()));
  }
}

void CheckNumbers(const Flux2TransformerConfig& sizes, const Config& config) {
  if (!(sizes.mlp_ratio > 0 && sizes.mlp_ratio <= 64) || sizes.mlp_dim() < 1) {
    Reject(config, ErrorKind::kFormat, fmt::format("mlp_ratio {} must be above 0 and at most 64", sizes.mlp_ratio));
  }
  if (sizes.inner_dim() > kMostWidth) {
    Reject(config, ErrorKind::kFormat,
           fmt::format("num_attention_heads {} x attention_head_dim {} is more than {} channels",
                       sizes.num_attention_heads, sizes.attention_head_dim, kMostWidth));
  }
  if (!(sizes.rope_theta > 0))
    Reject(config, ErrorKind::kFormat, fmt::format("rope_theta {} must be above 0", sizes.rope_theta));
  if (!(sizes.eps >= 0 && sizes.eps < 1))
    Reject(config, ErrorKind::kFormat, fmt::format("eps {} must lie in 0..1", sizes.eps));
  if (sizes.timestep_guidance_channels % 2 != 0) {
    Reject(config, ErrorKind::kFormat,
           fmt::format("timestep_guidance_channels {} is odd, but half of them are cosines",
                       sizes.timestep_guidance_channels));
  }
  if (sizes.num_layers + sizes.num_single_layers < 1) Reject(config, ErrorKind::kFormat, "there are no blocks at all");
}

// The counterpart of Forward's steps, over shapes.
class Flux2Meter {
 public:
  Flux2Meter(const Flux2TransformerConfig& config, const Flux2Sequence& sequence)
      : config_(config), sequence_(sequence), problem_(Flux2Problem(config, sequence)) {}

  Cost Measure() {
    const int64_t inner = config_.inner_dim(), rows = problem_.q_len;
    meter_.Take({rows, inner}, DType::kF32);
    Embeddings();
    Modulations();
    for (int64_t i = 0; i < config_.num_layers; ++i) DoubleBlock();
    for (int64_t i = 0; i < config_.num_single_layers; ++i) SingleBlock();
    CostMeter::Scope scope(meter_);
    meter_.Take({sequence_.image_tokens, inner}, sequence_.compute);
    meter_.Linear(sequence_.image_tokens, inner, config_.out_channels, sequence_.compute);
    return meter_.cost();
  }

 private:
  void Embeddings() {
    CostMeter::Scope scope(meter_);
    meter_.Take({sequence_.image_tokens, config_.in_channels}, sequence_.compute);
    meter_.Linear(sequence_.image_tokens, config_.in_channels, config_.inner_dim(), sequence_.compute);
    meter_.Linear(sequence_.text_tokens, config_.joint_attention_dim, config_.inner_dim(), sequence_.compute);
  }

  void Modulations() {
    const int64_t inner = config_.inner_dim();
    for (int i = 0; i < (config_.guidance_embeds ? 2 : 1); ++i) {
      meter_.Take({config_.timestep_guidance_channels}, DType::kF32);
      meter_.LinearInto({1, inner}, DType::kF32, config_.timestep_guidance_channels, sequence_.compute);
      meter_.LinearInto({1, inner}, DType::kF32, inner, sequence_.compute);
    }
    meter_.Take({inner}, sequence_.compute);
    for (const int64_t vectors : {6, 6, 3, 2})
      meter_.LinearInto({1, vectors * inner}, DType::kF32, inner, sequence_.compute);
  }

  void DoubleBlock() {
    const int64_t inner = config_.inner_dim(), rows = problem_.q_len;
    {
      CostMeter::Scope scope(meter_);
      for (int i = 0; i < 4; ++i) meter_.Take({rows, inner}, sequence_.compute);
      for (const int64_t part : {sequence_.text_tokens, sequence_.image_tokens}) {
        for (int i = 0; i < 3; ++i) meter_.Linear(part, inner, inner, sequence_.compute);
        CostMeter::Scope out(meter_);
        meter_.LinearInto({part, inner}, sequence_.compute, inner, sequence_.compute);
      }
      meter_.Attention(problem_);
    }
    FeedForward(sequence_.text_tokens);
    FeedForward(sequence_.image_tokens);
  }

  void FeedForward(int64_t rows) {
    CostMeter::Scope scope(meter_);
    meter_.Take({rows, config_.inner_dim()}, sequence_.compute);
    meter_.LinearInto({rows, 2 * config_.mlp_dim()}, sequence_.compute, config_.inner_dim(), sequence_.compute);
    meter_.Take({rows, config_.mlp_dim()}, sequence_.compute);
    meter_.Linear(rows, config_.mlp_dim(), config_.inner_dim(), sequence_.compute);
  }

  void SingleBlock() {
    const int64_t inner = config_.inner_dim(), mlp = config_.mlp_dim(), rows = problem_.q_len;
    CostMeter::Scope scope(meter_);
    meter_.Take({rows, inner + mlp}, sequence_.compute);
    meter_.LinearInto({rows, 3 * inner + 2 * mlp}, sequence_.compute, inner, sequence_.compute);
    meter_.Attention(problem_);
    meter_.Linear(rows, inner + mlp, inner, sequence_.compute);
  }

  const Flux2TransformerConfig& config_;
  const Flux2Sequence& sequence_;
  AttentionProblem problem_;
  CostMeter meter_;
};

}  // namespace

Flux2TransformerConfig Flux2TransformerConfig::From(const Config& config) {
  const std::string class_name = config.String("_class_name", "Flux2Transformer2DModel");
  if (class_name != "Flux2Transformer2DModel") {
    Reject(config, ErrorKind::kUnsupported,
           fmt::format("class '{}' is not supported; supported: Flux2Transformer2DModel", class_name));
  }
  if (config.Int("patch_size", 1) != 1) {
    Reject(config, ErrorKind::kUnsupported,
           fmt::format("patch_size {} is not supported; it must be 1", config.Int("patch_size", 1)));
  }
  Flux2TransformerConfig sizes;
  sizes.in_channels = config.Int("in_channels", sizes.in_channels, 1, kMostWidth);
  sizes.out_channels = config.Int("out_channels", sizes.in_channels, 1, kMostWidth);
  sizes.num_layers = config.Int("num_layers", sizes.num_layers, 0, kMostLayers);
  sizes.num_single_layers = config.Int("num_single_layers", sizes.num_single_layers, 0, kMostLayers);
  sizes.attention_head_dim = config.Int("attention_head_dim", sizes.attention_head_dim, 2, 4096);
  sizes.num_attention_heads = config.Int("num_attention_heads", sizes.num_attention_heads, 1, 4096);
  sizes.joint_attention_dim = config.Int("joint_attention_dim", sizes.joint_attention_dim, 1, kMostWidth);
  sizes.timestep_guidance_channels =
      config.Int("timestep_guidance_channels", sizes.timestep_guidance_channels, 2, kMostWidth);
  sizes.mlp_ratio = config.Float("mlp_ratio", sizes.mlp_ratio);
  sizes.axes_dims_rope = config.Ints("axes_dims_rope", sizes.axes_dims_rope);
  sizes.rope_theta = config.Float("rope_theta", sizes.rope_theta);
  sizes.eps = config.Float("eps", sizes.eps);
  sizes.guidance_embeds = config.Bool("guidance_embeds", sizes.guidance_embeds);
  CheckAxes(sizes, config);
  CheckNumbers(sizes, config);
  return sizes;
}

AttentionProblem Flux2Problem(const Flux2TransformerConfig& config, const Flux2Sequence& sequence) noexcept {
  AttentionProblem problem;
  problem.dtype = sequence.compute;
  problem.heads = problem.kv_heads = static_cast<int>(config.num_attention_heads);
  problem.head_dim = static_cast<int>(config.attention_head_dim);
  problem.q_len = problem.kv_len = sequence.text_tokens + sequence.image_tokens;
  problem.role = AttentionRole::kJoint;
  const int64_t noise_rows = sequence.grid_height * sequence.grid_width;
  if (noise_rows > 0) {
    problem.grid = VideoGrid{1, sequence.grid_height, sequence.grid_width, sequence.text_tokens,
                             sequence.image_tokens - noise_rows};
  }
  return problem;
}

AttentionSite Flux2Site(int64_t layer) { return {"transformer", AttentionRole::kJoint, static_cast<int>(layer)}; }

std::vector<SiteProblem> Flux2Sites(const Flux2TransformerConfig& config, const Flux2Sequence& sequence) {
  std::vector<SiteProblem> sites;
  for (int64_t i = 0; i < config.num_layers + config.num_single_layers; ++i) {
    sites.push_back({Flux2Site(i), Flux2Problem(config, sequence)});
  }
  return sites;
}

Cost Flux2Cost(const Flux2TransformerConfig& config, const Flux2Sequence& sequence) {
  return Flux2Meter(config, sequence).Measure();
}

}  // namespace tessera
