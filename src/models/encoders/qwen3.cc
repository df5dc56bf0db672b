// Qwen3 decoder language models as text encoders: the hidden states after chosen layers (specification section 9;
// transformers' Qwen3Model).
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/rotary.h"
#include "layers/trace_labels.h"
#include "models/attention_rows.h"
#include "models/cost_meter.h"
#include "models/text_encoder.h"
#include "models/token_embedding.h"

namespace tessera {
namespace {

constexpr std::string_view kComponent = "text_encoder";
constexpr int64_t kMostWidth = int64_t{1} << 20;
// Where the language model's tensors lie in files written by different versions and classes.
constexpr std::array<std::string_view, 4> kPrefixes = {"model.language_model.", "language_model.model.", "model.", ""};
constexpr std::array<std::string_view, 3> kHeads = {"lm_head.weight", "language_model.lm_head.weight",
                                                    "model.lm_head.weight"};

struct Qwen3Config {
  int64_t hidden_size = 4096, intermediate_size = 22016, vocabulary_size = 151936;
  int64_t layers = 32, heads = 32, kv_heads = 32, head_dim = 128;
  int64_t most_tokens = 32768;
  float eps = 1e-6f;
  double rope_theta = 10000;
  LinearShape::Bias attention_bias = LinearShape::Bias::kNone;

  int64_t q_width() const noexcept { return heads * head_dim; }
  int64_t kv_width() const noexcept { return kv_heads * head_dim; }
};

[[noreturn]] void Refuse(const Config& config, const std::string& what, const std::string& works) {
  throw Error(ErrorKind::kUnsupported, fmt::format("{}: {} is not supported; {}", config.file(), what, works));
}

void CheckRope(const Config& config, const Config& rope, const std::string& key) {
  const std::string type = rope.String("rope_type", rope.String("type", "default"));
  if (type != "default") Refuse(config, fmt::format("{} of type '{}'", key, Printable(type)), "supported: default");
  if (rope.Float("partial_rotary_factor", 1.0) != 1.0)
    Refuse(config, key + " with partial_rotary_factor", "it must be 1");
}

// Published files say rope_theta and rope_scaling, transformers 5 writes rope_parameters.
double ReadRopeTheta(const Config& config) {
  const Config parameters = config.Object("rope_parameters");
  CheckRope(config, config.Object("rope_scaling"), "rope_scaling");
  CheckRope(config, parameters, "rope_parameters");
  const double theta = config.Float("rope_theta", parameters.Float("rope_theta", 10000));
  if (!(theta > 0)) {
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: rope_theta {} makes no sense; it must be above 0", config.file(), theta));
  }
  return theta;
}

void RefuseOtherLayers(const Config& config) {
  const std::string activation = config.String("hidden_act", "silu");
  if (activation != "silu") Refuse(config, fmt::format("hidden_act '{}'", Printable(activation)), "supported: silu");
  if (config.Bool("use_sliding_window", false)) Refuse(config, "use_sliding_window true", "set it to false");
  if (!config.Has("layer_types") || !config.json()["layer_types"].is_array()) return;
  for (const auto& type : config.json()["layer_types"]) {
    if (type != "full_attention") {
      Refuse(config, fmt::format("layer type {}", Printable(type.dump())), "supported: full_attention");
    }
  }
}

void CheckSizes(const Qwen3Config& sizes, const std::string& file) {
  if (sizes.heads % sizes.kv_heads != 0) {
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", file, sizes.heads,
                            sizes.kv_heads));
  }
  if (sizes.head_dim % 2 != 0) {
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: head_dim {} is odd, so it cannot be rotated in pairs", file, sizes.head_dim));
  }
}

Qwen3Config ReadConfig(const Config& config) {
  RefuseOtherLayers(config);
  Qwen3Config sizes;
  sizes.hidden_size = config.Int("hidden_size", sizes.hidden_size, 1, kMostWidth);
  sizes.intermediate_size = config.Int("intermediate_size", sizes.intermediate_size, 1, kMostWidth);
  sizes.vocabulary_size = config.Int("vocab_size", sizes.vocabulary_size, 1, kMostWidth * 16);
  sizes.layers = config.Int("num_hidden_layers", sizes.layers, 1, 4096);
  sizes.heads = config.Int("num_attention_heads", sizes.heads, 1, 4096);
  sizes.kv_heads = config.Int("num_key_value_heads", sizes.heads, 1, 4096);
  // An explicit null means hidden_size / heads, an absent key the class default.
  const bool is_null = config.json().contains("head_dim") && config.json()["head_dim"].is_null();
  sizes.head_dim = config.Int("head_dim", is_null ? sizes.hidden_size / sizes.heads : sizes.head_dim, 1, 4096);
  sizes.most_tokens = config.Int("max_position_embeddings", sizes.most_tokens, 1, int64_t{1} << 31);
  sizes.eps = static_cast<float>(config.Float("rms_norm_eps", 1e-6));
  if (!(sizes.eps >= 0)) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: rms_norm_eps {} must not be negative", config.file(), sizes.eps));
  }
  sizes.rope_theta = ReadRopeTheta(config);
  if (config.Bool("attention_bias", false)) sizes.attention_bias = LinearShape::Bias::kRequired;
  CheckSizes(sizes, config.file());
  return sizes;
}

struct NamedShape {
  std::string name;
  Shape shape;
};

std::string LayerPrefix(int64_t layer) { return fmt::format("layers.{}.", layer); }

// Everything that may lie under a layer's prefix.
std::vector<std::string> LayerNames(int64_t layer) {
  std::vector<std::string> names;
  for (const char* name :
       {"input_layernorm.weight", "post_attention_layernorm.weight", "self_attn.q_norm.weight",
        "self_attn.k_norm.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight",
        "self_attn.o_proj.weight", "self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias",
        "self_attn.o_proj.bias", "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight",
        "self_attn.rotary_emb.inv_freq"}) {
    names.push_back(LayerPrefix(layer) + name);
  }
  return names;
}

std::string_view FindPrefix(const WeightMap& weights) {
  for (const std::string_view prefix : kPrefixes) {
    if (weights.Contains(std::string(prefix) + "embed_tokens.weight")) return prefix;
  }
  throw Error(
      ErrorKind::kFormat,
      fmt::format("{}: no tensor model.embed_tokens.weight, so this is no Qwen3 language model", weights.name()));
}

void IgnoreIfThere(WeightMap& weights, std::string_view name) {
  if (weights.Contains(name)) weights.Ignore(name);
}

struct Layer {
  RmsNormLayer input_norm, mlp_norm;
  Linear q, k, v, o, gate, up, down;
  Tensor q_norm, k_norm;  // [head_dim]

  Layer(WeightMap& weights, const std::string& prefix, const Qwen3Config& sizes)
      : input_norm(weights, prefix + "input_layernorm", sizes.hidden_size, sizes.eps),
        mlp_norm(weights, prefix + "post_attention_layernorm", sizes.hidden_size, sizes.eps),
        q(weights, prefix + "self_attn.q_proj", {sizes.hidden_size, sizes.q_width(), sizes.attention_bias}),
        k(weights, prefix + "self_attn.k_proj", {sizes.hidden_size, sizes.kv_width(), sizes.attention_bias}),
        v(weights, prefix + "self_attn.v_proj", {sizes.hidden_size, sizes.kv_width(), sizes.attention_bias}),
        o(weights, prefix + "self_attn.o_proj", {sizes.q_width(), sizes.hidden_size, sizes.attention_bias}),
        gate(weights, prefix + "mlp.gate_proj", {sizes.hidden_size, sizes.intermediate_size}),
        up(weights, prefix + "mlp.up_proj", {sizes.hidden_size, sizes.intermediate_size}),
        down(weights, prefix + "mlp.down_proj", {sizes.intermediate_size, sizes.hidden_size}),
        q_norm(weights.TakeF32(prefix + "self_attn.q_norm.weight", {sizes.head_dim})),
        k_norm(weights.TakeF32(prefix + "self_attn.k_norm.weight", {sizes.head_dim})) {}
};

AttentionProblem ProblemFor(const Qwen3Config& sizes, int64_t tokens, DType compute) {
  AttentionProblem problem;
  problem.dtype = compute;
  problem.heads = static_cast<int>(sizes.heads);
  problem.kv_heads = static_cast<int>(sizes.kv_heads);
  problem.head_dim = static_cast<int>(sizes.head_dim);
  problem.q_len = problem.kv_len = tokens;
  problem.mask = kMaskCausal | kMaskKeyLengths;
  problem.role = AttentionRole::kEncoder;
  return problem;
}

AttentionSite SiteOf(int layer) { return {std::string(kComponent), AttentionRole::kEncoder, layer}; }

class Qwen3Encoder final : public TextEncoder {
 public:
  Qwen3Encoder(const Qwen3Config& sizes, WeightMap weights, const TextEncoderJob& job) : sizes_(sizes), job_(job) {
    weights.StripPrefix(FindPrefix(weights));
    embedding_ = TokenEmbedding(weights, "embed_tokens.weight", sizes.vocabulary_size, sizes.hidden_size);
    const int last = job.taps.back();
    for (int i = 0; i < last; ++i) layers_.emplace_back(weights, LayerPrefix(i), sizes);
    if (last == sizes.layers) final_norm_ = RmsNormLayer(weights, "norm", sizes.hidden_size, sizes.eps);
    IgnoreUnused(weights, last);
    weights.Finish();
  }

  Tensor Encode(const PromptTokens& prompt, ForwardContext& context) const override {
    const auto tokens = static_cast<int64_t>(prompt.input_ids.size());
    Tensor states = Tensor::Empty({tokens, sizes_.hidden_size * static_cast<int64_t>(job_.taps.size())}, job_.compute);
    const RotaryTable rotary = SequenceRotary(tokens, sizes_.head_dim, sizes_.rope_theta);
    const Pass pass{ProblemFor(sizes_, tokens, job_.compute), rotary, static_cast<int32_t>(prompt.valid), context};
    Workspace::Scope scope(context.workspace);
    Tensor residual = context.workspace.Take({tokens, sizes_.hidden_size}, DType::kF32);
    embedding_.Gather(prompt.input_ids, residual);
    int64_t column = 0;
    for (int done = 0;; ++done) {
      if (std::ranges::find(job_.taps, done) != job_.taps.end()) StoreTap(done, residual, column++, context, states);
      if (done == job_.taps.back()) return states;
      RunLayer(done, pass, residual);
    }
  }

 private:
  // What is the same for all layers of one call.
  struct Pass {
    AttentionProblem problem;
    const RotaryTable& rotary;
    int32_t valid;
    ForwardContext& context;
  };

  void IgnoreUnused(WeightMap& weights, int last) const {
    for (int64_t i = 0; i < sizes_.layers; ++i) {
      if (i < last) {
        IgnoreIfThere(weights, LayerPrefix(i) + "self_attn.rotary_emb.inv_freq");
        continue;
      }
      for (const std::string& name : LayerNames(i)) IgnoreIfThere(weights, name);
    }
    if (last < sizes_.layers) IgnoreIfThere(weights, "norm.weight");
    IgnoreIfThere(weights, "rotary_emb.inv_freq");
    for (const std::string_view head : kHeads) IgnoreIfThere(weights, head);
  }

  // After the last layer of the model the final norm belongs to the hidden state.
  void StoreTap(int tap, const Tensor& residual, int64_t column, ForwardContext& context, Tensor& states) const {
    Workspace::Scope scope(context.workspace);
    const Tensor rows =
        tap == sizes_.layers ? final_norm_.Forward(residual, job_.compute, context.workspace) : residual;
    for (int64_t i = 0; i < rows.dim(0); ++i) {
      const Tensor from = rows.Narrow(0, i, 1);
      Tensor to = states.Narrow(0, i, 1).Narrow(1, column * sizes_.hidden_size, sizes_.hidden_size);
      ConvertElements(from.raw(), from.dtype(), to.mutable_raw(), job_.compute, sizes_.hidden_size);
    }
  }

  void RunLayer(int index, const Pass& pass, Tensor& residual) const noexcept {
    const TraceScope trace(pass.context.workspace.trace(), BlockLabel("layer", index));
    const Layer& layer = layers_[static_cast<size_t>(index)];
    AddAttention(layer, index, pass, residual);
    AddMlp(layer, pass.context.workspace, residual);
  }

  void AddAttention(const Layer& layer, int index, const Pass& pass, Tensor& residual) const noexcept {
    Workspace& workspace = pass.context.workspace;
    Workspace::Scope scope(workspace);
    const Tensor normed = layer.input_norm.Forward(residual, job_.compute, workspace);
    Tensor q = layer.q.Forward(normed, job_.compute, workspace);
    Tensor k = layer.k.Forward(normed, job_.compute, workspace);
    const Tensor v = layer.v.Forward(normed, job_.compute, workspace);
    Rotate(q, sizes_.heads, layer.q_norm, pass);
    Rotate(k, sizes_.kv_heads, layer.k_norm, pass);
    Tensor out = workspace.Take(q.shape(), job_.compute);
    AttentionIO io;
    io.q = HeadsOf(q, sizes_.head_dim);
    io.k = HeadsOf(k, sizes_.head_dim);
    io.v = HeadsOf(v, sizes_.head_dim);
    io.out = HeadsOf(&out, sizes_.head_dim);
    io.key_lengths = {&pass.valid, 1};
    pass.context.attention.Run(SiteOf(index), pass.problem, io, workspace);
    AddGated(residual, layer.o.Forward(out, job_.compute, workspace), {});
  }

  void Rotate(Tensor& rows, int64_t heads, const Tensor& weight, const Pass& pass) const noexcept {
    const TraceScope trace(pass.context.workspace.trace(), RowsLabel(TraceKind::kRotary, rows));
    QkNormRotary operands{rows.Reshape({rows.dim(0), heads, sizes_.head_dim}),
                          weight,
                          pass.rotary.cos,
                          pass.rotary.sin,
                          sizes_.eps,
                          RotaryKind::kHalfSplit};
    ApplyQkNormRotary(operands);
  }

  void AddMlp(const Layer& layer, Workspace& workspace, Tensor& residual) const noexcept {
    Workspace::Scope scope(workspace);
    const Tensor normed = layer.mlp_norm.Forward(residual, job_.compute, workspace);
    Tensor gate = layer.gate.Forward(normed, job_.compute, workspace);
    const Tensor up = layer.up.Forward(normed, job_.compute, workspace);
    SiluMultiply(gate, up, gate);
    AddGated(residual, layer.down.Forward(gate, job_.compute, workspace), {});
  }

  Qwen3Config sizes_;
  TextEncoderJob job_;
  TokenEmbedding embedding_;
  std::vector<Layer> layers_;
  RmsNormLayer final_norm_;
};

class Qwen3Spec final : public TextEncoderSpec {
 public:
  explicit Qwen3Spec(const Qwen3Config& sizes) : sizes_(sizes) {}
  int64_t hidden_size() const override { return sizes_.hidden_size; }
  int64_t vocabulary_size() const override { return sizes_.vocabulary_size; }
  int num_layers() const override { return static_cast<int>(sizes_.layers); }
  int64_t most_tokens() const override { return sizes_.most_tokens; }

  std::vector<SiteProblem> Sites(const TextEncoderJob& job) const override {
    CheckJob(job);
    std::vector<SiteProblem> sites;
    for (int i = 0; i < job.taps.back(); ++i) sites.push_back({SiteOf(i), ProblemFor(sizes_, job.tokens, job.compute)});
    return sites;
  }

  Cost CostOf(const TextEncoderJob& job) const override {
    CheckJob(job);
    CostMeter meter;
    meter.Take({job.tokens, sizes_.hidden_size}, DType::kF32);
    for (int i = 0; i < job.taps.back(); ++i) MeterLayer(job, meter);
    meter.Take({job.tokens, sizes_.hidden_size}, job.compute);  // the final norm, when it is tapped
    return meter.cost();
  }

  size_t UsedWeightBytes(const WeightMap& weights, const TextEncoderJob& job) const override {
    CheckJob(job);
    const std::string prefix(FindPrefix(weights));
    size_t bytes = weights.Peek(prefix + "embed_tokens.weight").bytes();
    const auto add = [&](const std::string& name) {
      if (weights.Contains(prefix + name)) bytes += weights.Peek(prefix + name).bytes();
    };
    for (int i = 0; i < job.taps.back(); ++i) {
      for (const std::string& name : LayerNames(i)) add(name);
    }
    if (job.taps.back() == sizes_.layers) add("norm.weight");
    return bytes;
  }

  std::unique_ptr<TextEncoder> Load(WeightMap weights, const TextEncoderJob& job) const override {
    CheckJob(job);
    return std::make_unique<Qwen3Encoder>(sizes_, std::move(weights), job);
  }

 private:
  void CheckJob(const TextEncoderJob& job) const {
    if (job.compute != DType::kF32 && job.compute != DType::kBF16) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("text encoder in {}: activations can be f32 or bf16", Name(job.compute)));
    }
    if (job.taps.empty() || std::ranges::adjacent_find(job.taps, std::greater_equal<>()) != job.taps.end() ||
        job.taps.front() < 0 || job.taps.back() > sizes_.layers) {
      throw Error(ErrorKind::kUnsupported, fmt::format("text encoder layers {}: give ascending numbers from 0 to {}",
                                                       fmt::join(job.taps, ", "), sizes_.layers));
    }
  }

  void MeterLayer(const TextEncoderJob& job, CostMeter& meter) const {
    const int64_t tokens = job.tokens, hidden = sizes_.hidden_size, inner = sizes_.intermediate_size;
    {
      CostMeter::Scope scope(meter);
      meter.Take({tokens, hidden}, job.compute);
      meter.LinearInto({tokens, sizes_.q_width()}, job.compute, hidden, job.compute);
      meter.LinearInto({tokens, sizes_.kv_width()}, job.compute, hidden, job.compute);
      meter.LinearInto({tokens, sizes_.kv_width()}, job.compute, hidden, job.compute);
      meter.Take({tokens, sizes_.q_width()}, job.compute);
      meter.Attention(ProblemFor(sizes_, tokens, job.compute));
      meter.LinearInto({tokens, hidden}, job.compute, sizes_.q_width(), job.compute);
    }
    CostMeter::Scope scope(meter);
    meter.Take({tokens, hidden}, job.compute);
    meter.LinearInto({tokens, inner}, job.compute, hidden, job.compute);
    meter.LinearInto({tokens, inner}, job.compute, hidden, job.compute);
    meter.LinearInto({tokens, hidden}, job.compute, inner, job.compute);
  }

  Qwen3Config sizes_;
};

std::unique_ptr<TextEncoderSpec> Parse(const Config& config) { return std::make_unique<Qwen3Spec>(ReadConfig(config)); }

}  // namespace

extern const TextEncoderArchitecture qwen3_text_encoder;
constinit const TextEncoderArchitecture qwen3_text_encoder = {"Qwen3ForCausalLM Qwen3Model", Parse};

}  // namespace tessera
