// UMT5 encoders: T5 with a table of relative positions in every layer, no scale in the attention (specification section
// 9; transformers' UMT5EncoderModel).
#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/trace_labels.h"
#include "models/attention_rows.h"
#include "models/cost_meter.h"
#include "models/text_encoder.h"
#include "models/token_embedding.h"

namespace tessera {
namespace {

constexpr std::string_view kComponent = "text_encoder";
constexpr int64_t kMostWidth = int64_t{1} << 20;
constexpr int64_t kMostTokens = int64_t{1} << 15;  // relative positions have no limit of their own

struct Umt5Config {
  int64_t d_model = 512, d_ff = 1024, d_kv = 64, heads = 6, layers = 8;
  int64_t vocabulary_size = 250112;
  int64_t buckets = 32, most_distance = 128;
  float eps = 1e-6f;
  int64_t inner() const noexcept { return heads * d_kv; }
};

[[noreturn]] void Refuse(const Config& config, const std::string& key, const std::string& value,
                         const std::string& works) {
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{}: {} '{}' is not supported; supported: {}", config.file(), key, Printable(value), works));
}

Umt5Config ReadConfig(const Config& config) {
  const std::string feed_forward = config.String("feed_forward_proj", "gated-gelu");
  if (feed_forward != "gated-gelu") Refuse(config, "feed_forward_proj", feed_forward, "gated-gelu");
  const std::string activation = config.String("dense_act_fn", "gelu_new");
  if (activation != "gelu_new") Refuse(config, "dense_act_fn", activation, "gelu_new");
  Umt5Config sizes;
  sizes.d_model = config.Int("d_model", sizes.d_model, 1, kMostWidth);
  sizes.d_ff = config.Int("d_ff", sizes.d_ff, 1, kMostWidth);
  sizes.d_kv = config.Int("d_kv", sizes.d_kv, 1, 4096);
  sizes.heads = config.Int("num_heads", sizes.heads, 1, 4096);
  sizes.layers = config.Int("num_layers", sizes.layers, 1, 4096);
  sizes.vocabulary_size = config.Int("vocab_size", sizes.vocabulary_size, 1, kMostWidth * 16);
  sizes.buckets = config.Int("relative_attention_num_buckets", sizes.buckets, 4, 65536);
  sizes.most_distance = config.Int("relative_attention_max_distance", sizes.most_distance, 1, int64_t{1} << 30);
  sizes.eps = static_cast<float>(config.Float("layer_norm_epsilon", 1e-6));
  if (sizes.buckets % 4 != 0 || sizes.most_distance <= sizes.buckets / 4) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: relative_attention_num_buckets {} must be a multiple of 4, and "
                                                "relative_attention_max_distance {} above a quarter of it",
                                                config.file(), sizes.buckets, sizes.most_distance));
  }
  if (!(sizes.eps >= 0)) {
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: layer_norm_epsilon {} must not be negative", config.file(), sizes.eps));
  }
  return sizes;
}

// The bucket of key position minus query position: half of them for keys behind the query; of each half one half exact,
// the other spaced by logarithm up to the largest distance.
int64_t BucketOf(const Umt5Config& sizes, int64_t distance) {
  const int64_t half = sizes.buckets / 2, exact = half / 2;
  const int64_t base = distance > 0 ? half : 0, size = std::abs(distance);
  if (size < exact) return base + size;
  const float ratio =
      std::log(static_cast<float>(size) / static_cast<float>(exact)) /
      static_cast<float>(std::log(static_cast<double>(sizes.most_distance) / static_cast<double>(exact)));
  const auto spaced = exact + static_cast<int64_t>(ratio * static_cast<float>(half - exact));
  return base + std::min(spaced, half - 1);
}

std::string LayerPrefix(int64_t layer) { return fmt::format("encoder.block.{}.layer.", layer); }

struct Layer {
  RmsNormLayer attention_norm, mlp_norm;
  Linear q, k, v, o, gate, up, down;
  Tensor positions;  // [buckets, heads]

  Layer(WeightMap& weights, const std::string& prefix, const Umt5Config& sizes)
      : attention_norm(weights, prefix + "0.layer_norm", sizes.d_model, sizes.eps),
        mlp_norm(weights, prefix + "1.layer_norm", sizes.d_model, sizes.eps),
        q(weights, prefix + "0.SelfAttention.q", {sizes.d_model, sizes.inner()}),
        k(weights, prefix + "0.SelfAttention.k", {sizes.d_model, sizes.inner()}),
        v(weights, prefix + "0.SelfAttention.v", {sizes.d_model, sizes.inner()}),
        o(weights, prefix + "0.SelfAttention.o", {sizes.inner(), sizes.d_model}),
        gate(weights, prefix + "1.DenseReluDense.wi_0", {sizes.d_model, sizes.d_ff}),
        up(weights, prefix + "1.DenseReluDense.wi_1", {sizes.d_model, sizes.d_ff}),
        down(weights, prefix + "1.DenseReluDense.wo", {sizes.d_ff, sizes.d_model}),
        positions(
            weights.TakeF32(prefix + "0.SelfAttention.relative_attention_bias.weight", {sizes.buckets, sizes.heads})) {}
};

AttentionProblem ProblemFor(const Umt5Config& sizes, int64_t tokens, DType compute) {
  AttentionProblem problem;
  problem.dtype = compute;
  problem.heads = problem.kv_heads = static_cast<int>(sizes.heads);
  problem.head_dim = static_cast<int>(sizes.d_kv);
  problem.q_len = problem.kv_len = tokens;
  problem.mask = kMaskBias | kMaskKeyLengths;
  problem.scale = 1.0f;
  problem.role = AttentionRole::kEncoder;
  return problem;
}

AttentionSite SiteOf(int layer) { return {std::string(kComponent), AttentionRole::kEncoder, layer}; }

class Umt5Encoder final : public TextEncoder {
 public:
  Umt5Encoder(const Umt5Config& sizes, WeightMap weights, const TextEncoderJob& job) : sizes_(sizes), job_(job) {
    const bool is_shared = weights.Contains("shared.weight");
    embedding_ = TokenEmbedding(weights, is_shared ? "shared.weight" : "encoder.embed_tokens.weight",
                                sizes.vocabulary_size, sizes.d_model);
    if (is_shared && weights.Contains("encoder.embed_tokens.weight")) weights.Ignore("encoder.embed_tokens.weight");
    for (int64_t i = 0; i < sizes.layers; ++i) layers_.emplace_back(weights, LayerPrefix(i), sizes);
    final_norm_ = RmsNormLayer(weights, "encoder.final_layer_norm", sizes.d_model, sizes.eps);
    weights.Finish();
  }

  Tensor Encode(const PromptTokens& prompt, ForwardContext& context) const override {
    const auto tokens = static_cast<int64_t>(prompt.input_ids.size());
    const Pass pass{ProblemFor(sizes_, tokens, job_.compute), static_cast<int32_t>(prompt.valid), context};
    Tensor states = Tensor::Empty({tokens, sizes_.d_model}, job_.compute);
    Workspace::Scope scope(context.workspace);
    Tensor residual = context.workspace.Take({tokens, sizes_.d_model}, DType::kF32);
    embedding_.Gather(prompt.input_ids, residual);
    for (int i = 0; i < static_cast<int>(sizes_.layers); ++i) {
      const TraceScope trace(context.workspace.trace(), BlockLabel("layer", i));
      const Layer& layer = layers_[static_cast<size_t>(i)];
      AddAttention(layer, i, pass, residual);
      AddMlp(layer, context.workspace, residual);
    }
    RmsNorm(residual, final_norm_.weight(), sizes_.eps, states);
    return states;
  }

 private:
  struct Pass {
    AttentionProblem problem;
    int32_t valid;
    ForwardContext& context;
  };

  // The bias depends on key minus query only: [heads, 2 * tokens - 1] instead of a matrix per head.
  AttentionBias PositionBias(const Layer& layer, int64_t tokens, Workspace& workspace) const noexcept {
    const int64_t distances = 2 * tokens - 1;
    Tensor rows = workspace.Take({sizes_.heads, distances}, DType::kF32);
    auto* value = rows.mutable_data<float>();
    const float* table = layer.positions.data<float>();
    for (int64_t i = 0; i < distances; ++i) {
      const int64_t bucket = BucketOf(sizes_, i - (tokens - 1));
      for (int64_t head = 0; head < sizes_.heads; ++head)
        value[head * distances + i] = table[bucket * sizes_.heads + head];
    }
    return {value + tokens - 1, DType::kF32, 0, distances, -1};
  }

  void AddAttention(const Layer& layer, int index, const Pass& pass, Tensor& residual) const noexcept {
    Workspace& workspace = pass.context.workspace;
    Workspace::Scope scope(workspace);
    const Tensor normed = layer.attention_norm.Forward(residual, job_.compute, workspace);
    const Tensor q = layer.q.Forward(normed, job_.compute, workspace);
    const Tensor k = layer.k.Forward(normed, job_.compute, workspace);
    const Tensor v = layer.v.Forward(normed, job_.compute, workspace);
    Tensor out = workspace.Take(q.shape(), job_.compute);
    AttentionIO io;
    io.q = HeadsOf(q, sizes_.d_kv);
    io.k = HeadsOf(k, sizes_.d_kv);
    io.v = HeadsOf(v, sizes_.d_kv);
    io.out = HeadsOf(&out, sizes_.d_kv);
    io.bias = PositionBias(layer, q.dim(0), workspace);
    io.key_lengths = {&pass.valid, 1};
    pass.context.attention.Run(SiteOf(index), pass.problem, io, workspace);
    AddGated(residual, layer.o.Forward(out, job_.compute, workspace), {});
  }

  void AddMlp(const Layer& layer, Workspace& workspace, Tensor& residual) const noexcept {
    Workspace::Scope scope(workspace);
    const Tensor normed = layer.mlp_norm.Forward(residual, job_.compute, workspace);
    Tensor gate = layer.gate.Forward(normed, job_.compute, workspace);
    const Tensor up = layer.up.Forward(normed, job_.compute, workspace);
    GeluTanhMultiply(gate, up, gate);
    AddGated(residual, layer.down.Forward(gate, job_.compute, workspace), {});
  }

  Umt5Config sizes_;
  TextEncoderJob job_;
  TokenEmbedding embedding_;
  std::vector<Layer> layers_;
  RmsNormLayer final_norm_;
};

class Umt5Spec final : public TextEncoderSpec {
 public:
  explicit Umt5Spec(const Umt5Config& sizes) : sizes_(sizes) {}
  int64_t hidden_size() const override { return sizes_.d_model; }
  int64_t vocabulary_size() const override { return sizes_.vocabulary_size; }
  int num_layers() const override { return static_cast<int>(sizes_.layers); }
  int64_t most_tokens() const override { return kMostTokens; }

  std::vector<SiteProblem> Sites(const TextEncoderJob& job) const override {
    CheckJob(job);
    std::vector<SiteProblem> sites;
    for (int i = 0; i < num_layers(); ++i) sites.push_back({SiteOf(i), ProblemFor(sizes_, job.tokens, job.compute)});
    return sites;
  }

  Cost CostOf(const TextEncoderJob& job) const override {
    CheckJob(job);
    CostMeter meter;
    meter.Take({job.tokens, sizes_.d_model}, DType::kF32);
    for (int64_t i = 0; i < sizes_.layers; ++i) MeterLayer(job, meter);
    return meter.cost();
  }

  size_t UsedWeightBytes(const WeightMap& weights, const TextEncoderJob&) const override {
    return weights.total_bytes();
  }

  std::unique_ptr<TextEncoder> Load(WeightMap weights, const TextEncoderJob& job) const override {
    CheckJob(job);
    return std::make_unique<Umt5Encoder>(sizes_, std::move(weights), job);
  }

 private:
  void CheckJob(const TextEncoderJob& job) const {
    if (job.compute != DType::kF32 && job.compute != DType::kBF16) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("text encoder in {}: activations can be f32 or bf16", Name(job.compute)));
    }
    if (job.taps.size() != 1 || job.taps[0] != num_layers()) {
      throw Error(ErrorKind::kUnsupported, fmt::format("UMT5 gives the states after its last layer, {}; asked for {}",
                                                       num_layers(), fmt::join(job.taps, ", ")));
    }
  }

  void MeterLayer(const TextEncoderJob& job, CostMeter& meter) const {
    const int64_t tokens = job.tokens, width = sizes_.d_model, inner = sizes_.inner();
    {
      CostMeter::Scope scope(meter);
      meter.Take({tokens, width}, job.compute);
      for (int i = 0; i < 3; ++i) meter.LinearInto({tokens, inner}, job.compute, width, job.compute);
      meter.Take({tokens, inner}, job.compute);
      meter.Take({sizes_.heads, 2 * tokens - 1}, DType::kF32);
      meter.Attention(ProblemFor(sizes_, tokens, job.compute));
      meter.LinearInto({tokens, width}, job.compute, inner, job.compute);
    }
    CostMeter::Scope scope(meter);
    meter.Take({tokens, width}, job.compute);
    for (int i = 0; i < 2; ++i) meter.LinearInto({tokens, sizes_.d_ff}, job.compute, width, job.compute);
    meter.LinearInto({tokens, width}, job.compute, sizes_.d_ff, job.compute);
  }

  Umt5Config sizes_;
};

std::unique_ptr<TextEncoderSpec> Parse(const Config& config) { return std::make_unique<Umt5Spec>(ReadConfig(config)); }

}  // namespace

extern const TextEncoderArchitecture umt5_text_encoder;
constinit const TextEncoderArchitecture umt5_text_encoder = {"UMT5EncoderModel", Parse};

}  // namespace tessera
