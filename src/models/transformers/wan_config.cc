// Wan's configuration and what follows from it without weights: attention sites, rotation, costs.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "base/text.h"
#include "models/cost_meter.h"
#include "models/transformers/wan_transformer.h"

namespace tessera {
namespace {

constexpr int64_t kMostWidth = int64_t{1} << 20;
constexpr double kRopeTheta = 10000;
constexpr const char* kClasses[] = {"WanTransformer3DModel", "CausalWanTransformer3DModel"};

[[noreturn]] void Reject(const Config& config, ErrorKind kind, const std::string& why) {
  throw Error(kind, fmt::format("{}: {}", config.file(), why));
}

void RefuseOthers(const Config& config) {
  const std::string class_name = config.String("_class_name", kClasses[0]);
  if (std::find(std::begin(kClasses), std::end(kClasses), class_name) == std::end(kClasses)) {
    Reject(config, ErrorKind::kUnsupported,
           fmt::format("class '{}' is not supported; supported: {}", Printable(class_name), fmt::join(kClasses, ", ")));
  }
  const std::string norm = config.String("qk_norm", "rms_norm_across_heads");
  if (norm != "rms_norm_across_heads") {
    Reject(config, ErrorKind::kUnsupported,
           fmt::format("qk_norm '{}' is not supported; supported: rms_norm_across_heads", Printable(norm)));
  }
}

void ReadPatch(const Config& config, WanTransformerConfig& sizes) {
  const auto patch = config.Ints("patch_size", {sizes.patch_t, sizes.patch_h, sizes.patch_w});
  const auto fits = [](int64_t side) { return side >= 1 && side <= 64; };
  if (patch.size() != 3 || !std::all_of(patch.begin(), patch.end(), fits)) {
    Reject(config, ErrorKind::kFormat, "patch_size must be three numbers from 1 to 64");
  }
  sizes.patch_t = patch[0], sizes.patch_h = patch[1], sizes.patch_w = patch[2];
}

AttentionProblem Problem(const WanTransformerConfig& config, const WanSequence& sequence, int64_t keys,
                         AttentionRole role) noexcept {
  AttentionProblem problem;
  problem.dtype = sequence.compute;
  problem.heads = problem.kv_heads = static_cast<int>(config.num_attention_heads);
  problem.head_dim = static_cast<int>(config.attention_head_dim);
  problem.q_len = WanTokens(config, sequence);
  problem.kv_len = keys;
  problem.role = role;
  return problem;
}

// The counterpart of Forward's steps, over shapes.
class WanMeter {
 public:
  WanMeter(const WanTransformerConfig& config, const WanSequence& sequence)
      : config_(config), sequence_(sequence), rows_(WanTokens(config, sequence)), inner_(config.inner_dim()) {}

  Cost Measure() {
    meter_.Take({rows_, inner_}, DType::kF32);
    {
      CostMeter::Scope scope(meter_);
      meter_.Take({rows_, config_.in_channels * config_.patch_volume()}, sequence_.compute);
      meter_.Linear(rows_, config_.in_channels * config_.patch_volume(), inner_, sequence_.compute);
    }
    for (int i = 0; i < 2; ++i) Modulation();
    for (int64_t i = 0; i < config_.num_layers; ++i) Block();
    CostMeter::Scope scope(meter_);
    meter_.Take({rows_, inner_}, sequence_.compute);
    meter_.LinearInto({rows_, config_.out_channels * config_.patch_volume()}, DType::kF32, inner_, sequence_.compute);
    return meter_.cost();
  }

 private:
  void Modulation() {
    meter_.LinearInto({1, inner_}, DType::kF32, config_.freq_dim, DType::kF32);
    meter_.LinearInto({1, inner_}, DType::kF32, inner_, DType::kF32);
    meter_.LinearInto({1, 6 * inner_}, DType::kF32, inner_, DType::kF32);
    meter_.Take({10 * inner_}, DType::kF32);
  }

  void Block() {
    {
      CostMeter::Scope scope(meter_);
      meter_.Take({rows_, inner_}, sequence_.compute);
      const int projections = config_.to_gate_compress ? 4 : 3;
      for (int i = 0; i < projections; ++i)
        meter_.LinearInto({rows_, inner_}, sequence_.compute, inner_, sequence_.compute);
      meter_.Attention(WanSelfProblem(config_, sequence_));
      meter_.LinearInto({rows_, inner_}, sequence_.compute, inner_, sequence_.compute);
    }
    {
      CostMeter::Scope scope(meter_);
      meter_.Take({rows_, inner_}, sequence_.compute);
      meter_.LinearInto({rows_, inner_}, sequence_.compute, inner_, sequence_.compute);
      meter_.Attention(WanTextProblem(config_, sequence_));
      if (sequence_.image_rows > 0) {
        meter_.Take({rows_, inner_}, sequence_.compute);
        meter_.Attention(WanImageProblem(config_, sequence_));
      }
      meter_.LinearInto({rows_, inner_}, sequence_.compute, inner_, sequence_.compute);
    }
    CostMeter::Scope scope(meter_);
    meter_.Take({rows_, inner_}, sequence_.compute);
    meter_.LinearInto({rows_, config_.ffn_dim}, sequence_.compute, inner_, sequence_.compute);
    meter_.Linear(rows_, config_.ffn_dim, inner_, sequence_.compute);
  }

  const WanTransformerConfig& config_;
  const WanSequence& sequence_;
  const int64_t rows_, inner_;
  CostMeter meter_;
};

}  // namespace

WanTransformerConfig WanTransformerConfig::From(const Config& config) {
  RefuseOthers(config);
  WanTransformerConfig sizes;
  ReadPatch(config, sizes);
  sizes.num_attention_heads = config.Int("num_attention_heads", sizes.num_attention_heads, 1, 4096);
  sizes.attention_head_dim = config.Int("attention_head_dim", sizes.attention_head_dim, 2, 1024);
  sizes.in_channels = config.Int("in_channels", sizes.in_channels, 1, kMostWidth);
  sizes.out_channels = config.Int("out_channels", sizes.out_channels, 1, kMostWidth);
  sizes.text_dim = config.Int("text_dim", sizes.text_dim, 1, kMostWidth);
  sizes.freq_dim = config.Int("freq_dim", sizes.freq_dim, 2, kMostWidth);
  sizes.ffn_dim = config.Int("ffn_dim", sizes.ffn_dim, 1, kMostWidth);
  sizes.num_layers = config.Int("num_layers", sizes.num_layers, 1, 4096);
  sizes.cross_attn_norm = config.Bool("cross_attn_norm", sizes.cross_attn_norm);
  sizes.eps = config.Float("eps", sizes.eps);
  if (config.Has("image_dim")) sizes.image_dim = config.Int("image_dim", 0, 1, kMostWidth);
  if (config.Has("pos_embed_seq_len")) sizes.pos_embed_seq_len = config.Int("pos_embed_seq_len", 0, 1, kMostWidth);
  if (sizes.attention_head_dim % 2 != 0 || sizes.freq_dim % 2 != 0) {
    Reject(config, ErrorKind::kFormat,
           fmt::format("attention_head_dim {} and freq_dim {} must be even", sizes.attention_head_dim, sizes.freq_dim));
  }
  if (sizes.inner_dim() > kMostWidth) Reject(config, ErrorKind::kFormat, "the heads are wider than a million channels");
  if (!(sizes.eps >= 0 && sizes.eps < 1)) {
    Reject(config, ErrorKind::kFormat, fmt::format("eps {} must lie in 0..1", sizes.eps));
  }
  const int64_t added = config.Has("added_kv_proj_dim") ? config.Int("added_kv_proj_dim", 0, 1, kMostWidth) : 0;
  if (sizes.image_dim && added != sizes.inner_dim()) {
    Reject(config, ErrorKind::kFormat,
           fmt::format("added_kv_proj_dim {} must be the width of the heads, {}, where there is an image_dim", added,
                       sizes.inner_dim()));
  }
  return sizes;
}

bool HasWanGates(const WeightMap& weights) {
  return weights.Contains("blocks.0.to_gate_compress.weight") ||
         weights.Contains("blocks.0.attn1.to_gate_compress.weight");
}

int64_t WanTokens(const WanTransformerConfig& config, const WanSequence& sequence) noexcept {
  return sequence.frames / config.patch_t * (sequence.height / config.patch_h) * (sequence.width / config.patch_w);
}

AttentionSite WanSite(const WanSequence& sequence, AttentionRole role, int64_t layer) {
  return {sequence.component, role, static_cast<int>(layer)};
}

AttentionProblem WanSelfProblem(const WanTransformerConfig& config, const WanSequence& sequence) noexcept {
  if (sequence.cached_frames > 0) {
    const int64_t frame = WanTokens(config, sequence) / (sequence.frames / config.patch_t);
    AttentionProblem problem = Problem(config, sequence, frame * sequence.cached_frames, AttentionRole::kSelf);
    problem.mask = kMaskKeyLengths;
    return problem;
  }
  AttentionProblem problem = Problem(config, sequence, WanTokens(config, sequence), AttentionRole::kSelf);
  problem.has_gate = config.to_gate_compress;
  problem.grid = VideoGrid{sequence.frames / config.patch_t, sequence.height / config.patch_h,
                           sequence.width / config.patch_w, 0, 0};
  return problem;
}

AttentionProblem WanTextProblem(const WanTransformerConfig& config, const WanSequence& sequence) noexcept {
  AttentionProblem problem = Problem(config, sequence, sequence.text_rows, AttentionRole::kCross);
  problem.mask = kMaskBias | kMaskKeyLengths;
  return problem;
}

AttentionProblem WanImageProblem(const WanTransformerConfig& config, const WanSequence& sequence) noexcept {
  return Problem(config, sequence, sequence.image_rows, AttentionRole::kCross);
}

std::vector<SiteProblem> WanSites(const WanTransformerConfig& config, const WanSequence& sequence) {
  std::vector<SiteProblem> sites;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    sites.push_back({WanSite(sequence, AttentionRole::kSelf, i), WanSelfProblem(config, sequence)});
    sites.push_back({WanSite(sequence, AttentionRole::kCross, i), WanTextProblem(config, sequence)});
    if (sequence.image_rows > 0) {
      sites.push_back({WanSite(sequence, AttentionRole::kCross, i), WanImageProblem(config, sequence)});
    }
  }
  return sites;
}

Cost WanCost(const WanTransformerConfig& config, const WanSequence& sequence) {
  return WanMeter(config, sequence).Measure();
}

Cost WanConditioningCost(const WanTransformerConfig& config, const WanSequence& sequence) {
  const int64_t inner = config.inner_dim();
  CostMeter meter;
  meter.LinearInto({sequence.text_rows, inner}, sequence.compute, config.text_dim, sequence.compute);
  meter.LinearInto({sequence.text_rows, inner}, sequence.compute, inner, sequence.compute);
  if (sequence.image_rows > 0) {
    const int64_t width = config.image_dim.value_or(0);
    meter.Take({sequence.image_rows, width}, sequence.compute);
    meter.LinearInto({sequence.image_rows, width}, sequence.compute, width, sequence.compute);
    meter.LinearInto({sequence.image_rows, inner}, DType::kF32, width, sequence.compute);
    meter.Take({sequence.image_rows, inner}, sequence.compute);
  }
  for (int64_t i = 0; i < 2 * config.num_layers; ++i) {
    meter.Linear(sequence.text_rows, inner, inner, sequence.compute);
    if (sequence.image_rows > 0) meter.Linear(sequence.image_rows, inner, inner, sequence.compute);
  }
  return meter.cost();
}

RotaryTable WanRotary(const WanTransformerConfig& config, const WanSequence& sequence) {
  const int64_t t = sequence.frames / config.patch_t, h = sequence.height / config.patch_h,
                w = sequence.width / config.patch_w;
  Tensor ids = Tensor::Empty({t * h * w, 3}, DType::kI64);
  auto* id = ids.mutable_data<int64_t>();
  for (int64_t i = 0; i < t * h * w; ++i) {
    id[3 * i] = i / (h * w);
    id[3 * i + 1] = i / w % h;
    id[3 * i + 2] = i % w;
  }
  const int64_t side = 2 * (config.attention_head_dim / 6);
  return AxisRotary(ids, {config.attention_head_dim - 2 * side, side, side}, kRopeTheta);
}

}  // namespace tessera
