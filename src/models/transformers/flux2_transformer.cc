#include "models/transformers/flux2_transformer.h"

#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "kernels/elementwise/elementwise.h"
#include "layers/linear.h"
#include "layers/timestep_embedding.h"
#include "layers/trace_labels.h"

namespace tessera {
namespace {

// One stream's projections in a double block. Text and image differ in names only.
struct Stream {
  struct Names {
    const char *q, *k, *v, *out, *norm_q, *norm_k, *feed_forward;
  };
  static constexpr Names kImage = {"attn.to_q",   "attn.to_k",   "attn.to_v", "attn.to_out.0",
                                   "attn.norm_q", "attn.norm_k", "ff"};
  static constexpr Names kText = {"attn.add_q_proj",   "attn.add_k_proj",   "attn.add_v_proj", "attn.to_add_out",
                                  "attn.norm_added_q", "attn.norm_added_k", "ff_context"};

  std::array<Linear, 3> qkv;
  Linear out, linear_in, linear_out;
  Tensor norm_q, norm_k;  // [head_dim]

  Stream(WeightMap& weights, const std::string& prefix, const Names& names, const Flux2TransformerConfig& config)
      : qkv{Linear(weights, prefix + names.q, Square(config)), Linear(weights, prefix + names.k, Square(config)),
            Linear(weights, prefix + names.v, Square(config))},
        out(weights, prefix + names.out, Square(config)),
        linear_in(weights, prefix + names.feed_forward + ".linear_in", {config.inner_dim(), 2 * config.mlp_dim()}),
        linear_out(weights, prefix + names.feed_forward + ".linear_out", {config.mlp_dim(), config.inner_dim()}),
        norm_q(weights.TakeF32(prefix + names.norm_q + ".weight", {config.attention_head_dim})),
        norm_k(weights.TakeF32(prefix + names.norm_k + ".weight", {config.attention_head_dim})) {}

  static LinearShape Square(const Flux2TransformerConfig& config) { return {config.inner_dim(), config.inner_dim()}; }
};

struct DoubleBlock {
  Stream text, image;
  DoubleBlock(WeightMap& weights, const std::string& prefix, const Flux2TransformerConfig& config)
      : text(weights, prefix, Stream::kText, config), image(weights, prefix, Stream::kImage, config) {}
};

struct SingleBlock {
  Linear qkv_mlp, out;
  Tensor norm_q, norm_k;  // [head_dim]
  SingleBlock(WeightMap& weights, const std::string& prefix, const Flux2TransformerConfig& config)
      : qkv_mlp(weights, prefix + "attn.to_qkv_mlp_proj",
                {config.inner_dim(), 3 * config.inner_dim() + 2 * config.mlp_dim()}),
        out(weights, prefix + "attn.to_out", {config.inner_dim() + config.mlp_dim(), config.inner_dim()}),
        norm_q(weights.TakeF32(prefix + "attn.norm_q.weight", {config.attention_head_dim})),
        norm_k(weights.TakeF32(prefix + "attn.norm_k.weight", {config.attention_head_dim})) {}
};

// The three vectors of one modulated branch, [inner] f32.
struct Modulation {
  Tensor shift, scale, gate;
};

struct Flux2Weights {
  Flux2Weights(const Flux2TransformerConfig& c, WeightMap& weights, DType compute_type);

  Flux2TransformerConfig config;
  DType compute;
  TimestepEmbedding timestep_embedder, guidance_embedder;
  Linear text_modulation, image_modulation, single_modulation, final_modulation;
  Linear x_embedder, context_embedder, proj_out;
  std::vector<DoubleBlock> double_blocks;
  std::vector<SingleBlock> single_blocks;
};

Flux2Weights::Flux2Weights(const Flux2TransformerConfig& c, WeightMap& weights, DType compute_type)
    : config(c), compute(compute_type) {
  const int64_t inner = c.inner_dim();
  const LinearShape features{c.timestep_guidance_channels, inner};
  timestep_embedder = TimestepEmbedding(weights, "time_guidance_embed.timestep_embedder", features, inner);
  if (c.guidance_embeds) {
    guidance_embedder = TimestepEmbedding(weights, "time_guidance_embed.guidance_embedder", features, inner);
  }
  image_modulation = Linear(weights, "double_stream_modulation_img.linear", {inner, 6 * inner});
  text_modulation = Linear(weights, "double_stream_modulation_txt.linear", {inner, 6 * inner});
  single_modulation = Linear(weights, "single_stream_modulation.linear", {inner, 3 * inner});
  final_modulation = Linear(weights, "norm_out.linear", {inner, 2 * inner});
  x_embedder = Linear(weights, "x_embedder", {c.in_channels, inner});
  context_embedder = Linear(weights, "context_embedder", {c.joint_attention_dim, inner});
  proj_out = Linear(weights, "proj_out", {inner, c.out_channels});
  for (int64_t i = 0; i < c.num_layers; ++i) {
    double_blocks.emplace_back(weights, fmt::format("transformer_blocks.{}.", i), c);
  }
  for (int64_t i = 0; i < c.num_single_layers; ++i) {
    single_blocks.emplace_back(weights, fmt::format("single_transformer_blocks.{}.", i), c);
  }
}

float Rounded(float value, DType dtype) noexcept { return dtype == DType::kBF16 ? ToFloat(ToBFloat16(value)) : value; }

// Pipelines round the timestep to the compute type and divide by 1000 there; the model multiplies by 1000 there.
float RoundTrip(float timestep, DType compute) noexcept {
  if (compute == DType::kF32) return timestep * 1000.0f;
  return Rounded(Rounded(Rounded(timestep * 1000.0f, compute) / 1000.0f, compute) * 1000.0f, compute);
}

BshdIn StridedIn(const Tensor& heads) noexcept { return {heads.raw(), 0, heads.stride(0), heads.stride(1)}; }

// One call of Forward. The joint buffers hold text rows first, then image rows.
class ForwardPass {
 public:
  ForwardPass(const Flux2Weights& weights, const Flux2Input& input, const Flux2Sequence& sequence,
              ForwardContext& context) noexcept
      : weights_(weights),
        input_(input),
        context_(context),
        workspace_(context.workspace),
        problem_(Flux2Problem(weights.config, sequence)),
        text_{0, sequence.text_tokens},
        image_{sequence.text_tokens, sequence.image_tokens},
        inner_(weights.config.inner_dim()),
        mlp_(weights.config.mlp_dim()),
        eps_(static_cast<float>(weights.config.eps)) {}

  void Run(Tensor& prediction) noexcept;

 private:
  struct Rows {
    int64_t first, count;
    Tensor Of(const Tensor& joint) const noexcept { return joint.Narrow(0, first, count); }
  };
  using Qkv = std::array<Tensor, 3>;

  Tensor Take(int64_t rows, int64_t channels) noexcept { return workspace_.Take({rows, channels}, weights_.compute); }
  void Embed() noexcept;
  Tensor Conditioning() noexcept;
  void Modulate() noexcept;
  void RunDouble(int64_t layer) noexcept;
  void JointAttention(int64_t layer) noexcept;
  void Project(const Stream& stream, Rows rows, const Tensor& normed, Qkv& qkv) noexcept;
  void AddProjected(const Stream& stream, Rows rows, const Tensor& attended, const Modulation& modulation) noexcept;
  void FeedForward(const Stream& stream, Rows rows, const Modulation& modulation) noexcept;
  void RunSingle(int64_t layer) noexcept;
  void Activate(const Tensor& hidden, Tensor& activated) noexcept;
  void NormRotate(const Tensor& projected, const Tensor& weight, Rows rows) noexcept;
  void Attend(int64_t layer, const Qkv& qkv, const Tensor& out) noexcept;
  void ModulatedNorm(Rows rows, const Modulation& modulation, Tensor& normed) noexcept;
  void AddToResidual(Rows rows, const Tensor& update, const Modulation& modulation) noexcept;

  const Flux2Weights& weights_;
  const Flux2Input& input_;
  ForwardContext& context_;
  Workspace& workspace_;
  AttentionProblem problem_;
  Rows text_, image_;
  int64_t inner_, mlp_;
  float eps_;
  Tensor residual_;  // [text + image, inner] f32
  Modulation text_attention_, text_mlp_, image_attention_, image_mlp_, single_, final_;
};

void ForwardPass::Run(Tensor& prediction) noexcept {
  Workspace::Scope scope(workspace_);
  residual_ = workspace_.Take({text_.count + image_.count, inner_}, DType::kF32);
  Embed();
  Modulate();
  const auto double_blocks = static_cast<int64_t>(weights_.double_blocks.size());
  const auto single_blocks = static_cast<int64_t>(weights_.single_blocks.size());
  for (int64_t i = 0; i < double_blocks; ++i) RunDouble(i);
  for (int64_t i = 0; i < single_blocks; ++i) RunSingle(i);
  Tensor normed = Take(image_.count, inner_);
  ModulatedNorm(image_, final_, normed);
  weights_.proj_out.Forward(normed, prediction, workspace_);
}

void ForwardPass::Embed() noexcept {
  Workspace::Scope scope(workspace_);
  Tensor rows = Take(image_.count, weights_.config.in_channels);
  ConvertElements(input_.hidden_states.raw(), input_.hidden_states.dtype(), rows.mutable_raw(), weights_.compute,
                  rows.numel());
  Tensor text = text_.Of(residual_), image = image_.Of(residual_);
  weights_.context_embedder.Forward(input_.encoder_hidden_states, text, workspace_);
  weights_.x_embedder.Forward(rows, image, workspace_);
}

// SiLU of the timestep's (and guidance's) embedding, [1, inner] of the compute type.
Tensor ForwardPass::Conditioning() noexcept {
  const DType compute = weights_.compute;
  Tensor embedding = weights_.timestep_embedder.Forward(RoundTrip(input_.timestep, compute), compute, workspace_);
  if (weights_.config.guidance_embeds) {
    TESSERA_CHECK(input_.guidance.has_value());
    const float guidance = Rounded(Rounded(*input_.guidance, compute) * 1000.0f, compute);
    Add(embedding, weights_.guidance_embedder.Forward(guidance, compute, workspace_), embedding);
  }
  Tensor activated = Take(1, inner_);
  Silu(embedding, activated);
  return activated;
}

// The vectors of this step, shared by all blocks.
void ForwardPass::Modulate() noexcept {
  const Tensor conditioning = Conditioning();
  const auto vectors = [&](const Linear& linear, int64_t count) {
    return linear.Forward(conditioning, DType::kF32, workspace_).Reshape({count, inner_});
  };
  const auto row = [&](const Tensor& rows, int64_t i) { return rows.Narrow(0, i, 1).Reshape({inner_}); };
  const auto triple = [&](const Tensor& rows, int64_t i) {
    return Modulation{row(rows, i), row(rows, i + 1), row(rows, i + 2)};
  };
  const Tensor image = vectors(weights_.image_modulation, 6), text = vectors(weights_.text_modulation, 6);
  image_attention_ = triple(image, 0);
  image_mlp_ = triple(image, 3);
  text_attention_ = triple(text, 0);
  text_mlp_ = triple(text, 3);
  single_ = triple(vectors(weights_.single_modulation, 3), 0);
  const Tensor last = vectors(weights_.final_modulation, 2);  // scale first here
  final_ = {row(last, 1), row(last, 0), {}};
}

void ForwardPass::RunDouble(int64_t layer) noexcept {
  const TraceScope trace(workspace_.trace(), BlockLabel("double block", layer));
  const DoubleBlock& block = weights_.double_blocks[static_cast<size_t>(layer)];
  JointAttention(layer);
  FeedForward(block.text, text_, text_mlp_);
  FeedForward(block.image, image_, image_mlp_);
}

void ForwardPass::JointAttention(int64_t layer) noexcept {
  const DoubleBlock& block = weights_.double_blocks[static_cast<size_t>(layer)];
  Workspace::Scope scope(workspace_);
  const int64_t rows = residual_.dim(0);
  Tensor normed = Take(rows, inner_), text = text_.Of(normed), image = image_.Of(normed);
  Qkv qkv{Take(rows, inner_), Take(rows, inner_), Take(rows, inner_)};
  ModulatedNorm(text_, text_attention_, text);
  ModulatedNorm(image_, image_attention_, image);
  Project(block.text, text_, text, qkv);
  Project(block.image, image_, image, qkv);
  Attend(layer, qkv, normed);  // the normed rows are no longer needed
  AddProjected(block.text, text_, normed, text_attention_);
  AddProjected(block.image, image_, normed, image_attention_);
}

// One stream's q, k and v, written into its rows of the joint buffers.
void ForwardPass::Project(const Stream& stream, Rows rows, const Tensor& normed, Qkv& qkv) noexcept {
  for (size_t i = 0; i < qkv.size(); ++i) {
    Tensor projected = rows.Of(qkv[i]);
    stream.qkv[i].Forward(normed, projected, workspace_);
  }
  NormRotate(rows.Of(qkv[0]), stream.norm_q, rows);
  NormRotate(rows.Of(qkv[1]), stream.norm_k, rows);
}

void ForwardPass::AddProjected(const Stream& stream, Rows rows, const Tensor& attended,
                               const Modulation& modulation) noexcept {
  Workspace::Scope scope(workspace_);
  AddToResidual(rows, stream.out.Forward(rows.Of(attended), weights_.compute, workspace_), modulation);
}

void ForwardPass::FeedForward(const Stream& stream, Rows rows, const Modulation& modulation) noexcept {
  Workspace::Scope scope(workspace_);
  Tensor normed = Take(rows.count, inner_);
  ModulatedNorm(rows, modulation, normed);
  const Tensor hidden = stream.linear_in.Forward(normed, weights_.compute, workspace_);
  Tensor activated = Take(rows.count, mlp_);
  Activate(hidden, activated);
  stream.linear_out.Forward(activated, normed, workspace_);
  AddToResidual(rows, normed, modulation);
}

// Attention and feed-forward side by side on one projection [q | k | v | gate | up] of every row.
void ForwardPass::RunSingle(int64_t layer) noexcept {
  const TraceScope trace(workspace_.trace(), BlockLabel("single block", layer));
  const SingleBlock& block = weights_.single_blocks[static_cast<size_t>(layer)];
  Workspace::Scope scope(workspace_);
  const Rows all{0, residual_.dim(0)};
  Tensor joined = Take(all.count, inner_ + mlp_);  // [attention | mlp]; until then the normed rows lie in it
  Tensor normed = Tensor::Borrow(joined.mutable_raw(), {all.count, inner_}, weights_.compute);
  ModulatedNorm(all, single_, normed);
  Tensor projected = block.qkv_mlp.Forward(normed, weights_.compute, workspace_);
  const Qkv qkv{projected.Narrow(1, 0, inner_), projected.Narrow(1, inner_, inner_),
                projected.Narrow(1, 2 * inner_, inner_)};
  NormRotate(qkv[0], block.norm_q, all);
  NormRotate(qkv[1], block.norm_k, all);
  Attend(layer + static_cast<int64_t>(weights_.double_blocks.size()), qkv, joined.Narrow(1, 0, inner_));
  Tensor activated = joined.Narrow(1, inner_, mlp_);
  Activate(projected.Narrow(1, 3 * inner_, 2 * mlp_), activated);
  Tensor update = Tensor::Borrow(projected.mutable_raw(), {all.count, inner_}, weights_.compute);
  block.out.Forward(joined, update, workspace_);
  AddToResidual(all, update, single_);
}

void ForwardPass::Activate(const Tensor& hidden, Tensor& activated) noexcept {
  const TraceScope trace(workspace_.trace(), RowsLabel(TraceKind::kElementwise, activated));
  SwiGlu(hidden, activated);
}

// RMSNorm per head and rotation, in place; `projected` [rows, inner] with any row stride.
void ForwardPass::NormRotate(const Tensor& projected, const Tensor& weight, Rows rows) noexcept {
  const TraceScope trace(workspace_.trace(), RowsLabel(TraceKind::kRotary, projected));
  QkNormRotary operands{projected.SplitAxis(1, weights_.config.attention_head_dim),
                        weight,
                        rows.Of(input_.rotary->cos),
                        rows.Of(input_.rotary->sin),
                        eps_,
                        RotaryKind::kInterleaved};
  ApplyQkNormRotary(operands);
}

void ForwardPass::Attend(int64_t layer, const Qkv& qkv, const Tensor& out) noexcept {
  const int64_t head_dim = weights_.config.attention_head_dim;
  Tensor out_heads = out.SplitAxis(1, head_dim);
  AttentionIO io;
  io.q = StridedIn(qkv[0].SplitAxis(1, head_dim));
  io.k = StridedIn(qkv[1].SplitAxis(1, head_dim));
  io.v = StridedIn(qkv[2].SplitAxis(1, head_dim));
  io.out = {out_heads.mutable_raw(), 0, out_heads.stride(0), out_heads.stride(1)};
  context_.attention.Run(Flux2Site(layer), problem_, io, workspace_);
}

void ForwardPass::ModulatedNorm(Rows rows, const Modulation& modulation, Tensor& normed) noexcept {
  const TraceScope trace(workspace_.trace(), RowsLabel(TraceKind::kNorm, normed));
  LayerNormModulate(rows.Of(residual_), modulation.scale, modulation.shift, eps_, normed);
}

void ForwardPass::AddToResidual(Rows rows, const Tensor& update, const Modulation& modulation) noexcept {
  const TraceScope trace(workspace_.trace(), RowsLabel(TraceKind::kElementwise, update));
  Tensor residual = rows.Of(residual_);
  AddGated(residual, update, modulation.gate);
}

}  // namespace

struct Flux2Transformer::Parts {
  Flux2Weights weights;
};

Flux2Transformer::Flux2Transformer(const Flux2TransformerConfig& config, WeightMap weights, DType compute) {
  if (compute != DType::kF32 && compute != DType::kBF16) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("transformer in {}: activations can be f32 or bf16", Name(compute)));
  }
  parts_ = std::make_unique<Parts>(Parts{Flux2Weights(config, weights, compute)});
  weights.Finish();
}

Flux2Transformer::~Flux2Transformer() = default;

void Flux2Transformer::Forward(const Flux2Input& input, const Flux2Sequence& sequence, ForwardContext& context,
                               Tensor& prediction) const noexcept {
  const Flux2TransformerConfig& config = parts_->weights.config;
  TESSERA_CHECK(sequence.compute == parts_->weights.compute);
  TESSERA_CHECK(input.encoder_hidden_states.dtype() == sequence.compute);
  TESSERA_CHECK((input.hidden_states.shape() == Shape{sequence.image_tokens, config.in_channels}));
  TESSERA_CHECK((input.encoder_hidden_states.shape() == Shape{sequence.text_tokens, config.joint_attention_dim}));
  TESSERA_CHECK((prediction.shape() == Shape{sequence.image_tokens, config.out_channels}));
  TESSERA_CHECK(input.rotary != nullptr && input.rotary->cos.dim(0) == sequence.text_tokens + sequence.image_tokens);
  ForwardPass(parts_->weights, input, sequence, context).Run(prediction);
}

}  // namespace tessera
