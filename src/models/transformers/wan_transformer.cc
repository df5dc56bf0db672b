#include "models/transformers/wan_transformer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "kernels/elementwise/elementwise.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/timestep_embedding.h"
#include "layers/trace_labels.h"
#include "models/attention_rows.h"
#include "models/transformers/wan_key_cache.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr LinearShape::Bias kBias = LinearShape::Bias::kRequired;
constexpr float kPictureNormEps = 1e-5f;

LinearShape Square(const WanTransformerConfig& config) { return {config.inner_dim(), config.inner_dim(), kBias}; }

// q and k are normalised over all heads at once.
struct Attention {
  Linear q, k, v, out;
  Tensor norm_q, norm_k;  // [inner]

  Attention(WeightMap& weights, const std::string& prefix, const WanTransformerConfig& config)
      : q(weights, prefix + "to_q", Square(config)),
        k(weights, prefix + "to_k", Square(config)),
        v(weights, prefix + "to_v", Square(config)),
        out(weights, prefix + "to_out.0", Square(config)),
        norm_q(weights.TakeF32(prefix + "norm_q.weight", {config.inner_dim()})),
        norm_k(weights.TakeF32(prefix + "norm_k.weight", {config.inner_dim()})) {}
};

// The picture's keys and values of a cross attention.
struct PictureKeys {
  Linear k, v;
  Tensor norm_k;

  PictureKeys(WeightMap& weights, const std::string& prefix, const WanTransformerConfig& config)
      : k(weights, prefix + "add_k_proj", Square(config)),
        v(weights, prefix + "add_v_proj", Square(config)),
        norm_k(weights.TakeF32(prefix + "norm_added_k.weight", {config.inner_dim()})) {}
};

// Checkpoints have the gate beside the self attention or in it.
std::string GateName(const WeightMap& weights, const std::string& prefix) {
  return weights.Contains(prefix + "to_gate_compress.weight") ? "to_gate_compress" : "attn1.to_gate_compress";
}

struct Block {
  Attention self, cross;
  std::optional<PictureKeys> picture;
  std::optional<AffineLayerNorm> cross_norm;
  std::optional<Linear> gate;
  Linear feed_in, feed_out;
  Tensor table;  // [6, inner]

  Block(WeightMap& weights, const std::string& prefix, const WanTransformerConfig& config)
      : self(weights, prefix + "attn1.", config),
        cross(weights, prefix + "attn2.", config),
        feed_in(weights, prefix + "ffn.net.0.proj", {config.inner_dim(), config.ffn_dim, kBias}),
        feed_out(weights, prefix + "ffn.net.2", {config.ffn_dim, config.inner_dim(), kBias}),
        table(weights.TakeF32(prefix + "scale_shift_table", {1, 6, config.inner_dim()})
                  .Reshape({6, config.inner_dim()})) {
    if (config.image_dim) picture.emplace(weights, prefix + "attn2.", config);
    if (config.cross_attn_norm) {
      cross_norm.emplace(weights, prefix + "norm2", config.inner_dim(), static_cast<float>(config.eps));
    }
    if (config.to_gate_compress) gate.emplace(weights, prefix + GateName(weights, prefix), Square(config));
  }
};

// The convolution of the patches has their size as its stride, so it is a product: [inner, channels * t * h * w].
Linear PatchEmbedding(WeightMap& weights, const WanTransformerConfig& config) {
  const int64_t inner = config.inner_dim(), features = config.in_channels * config.patch_volume();
  const Tensor weight = weights.Take("patch_embedding.weight",
                                     {inner, config.in_channels, config.patch_t, config.patch_h, config.patch_w});
  WeightMap flat(weights.name());
  flat.Insert("patch_embedding.weight", weight.Reshape({inner, features}), weights.name());
  flat.Insert("patch_embedding.bias", weights.Take("patch_embedding.bias", {inner}), weights.name());
  return Linear(flat, "patch_embedding", {features, inner, kBias});
}

// LayerNorm, two layers with GELU, LayerNorm over the picture encoder's rows.
struct PictureEmbedding {
  AffineLayerNorm norm_in, norm_out;
  Linear first, second;
  Tensor positions;  // [2 * seq, image_dim], or undefined

  PictureEmbedding(WeightMap& weights, const std::string& prefix, const WanTransformerConfig& config)
      : norm_in(weights, prefix + "norm1", *config.image_dim, kPictureNormEps),
        norm_out(weights, prefix + "norm2", config.inner_dim(), kPictureNormEps),
        first(weights, prefix + "ff.net.0.proj", {*config.image_dim, *config.image_dim, kBias}),
        second(weights, prefix + "ff.net.2", {*config.image_dim, config.inner_dim(), kBias}) {
    if (!config.pos_embed_seq_len) return;
    positions = weights.TakeF32(prefix + "pos_embed", {1, *config.pos_embed_seq_len, *config.image_dim});
  }
};

// Modulation of one run of tokens: rows of [6, inner] and [2, inner], f32.
struct Modulation {
  int64_t first = 0, count = 0;
  Tensor projected;  // [6, inner], before the block's own table is added
  Tensor block;      // [6, inner], of the block in work
  Tensor last;       // [2, inner]: shift, scale

  Tensor Row(int64_t i) const noexcept { return block.Narrow(0, i, 1).Reshape({block.dim(1)}); }
  Tensor Of(const Tensor& rows) const noexcept { return rows.Narrow(0, first, count); }
};
constexpr int64_t kAttention = 0, kFeedForward = 3;  // rows: shift, scale, gate
constexpr size_t kMostRuns = 64;                     // of tokens with equal timesteps that are held at a time

struct WanWeights {
  WanWeights(const WanTransformerConfig& c, WeightMap& weights, DType compute_type);

  WanTransformerConfig config;
  DType compute;
  Linear patch_embedding, text_1, text_2, time_projection, proj_out;
  TimestepEmbedding time_embedder;
  std::optional<PictureEmbedding> picture;
  std::vector<Block> blocks;
  Tensor table;  // [2, inner]
};

WanWeights::WanWeights(const WanTransformerConfig& c, WeightMap& weights, DType compute_type)
    : config(c), compute(compute_type) {
  const int64_t inner = c.inner_dim();
  patch_embedding = PatchEmbedding(weights, c);
  text_1 = Linear(weights, "condition_embedder.text_embedder.linear_1", {c.text_dim, inner, kBias});
  text_2 = Linear(weights, "condition_embedder.text_embedder.linear_2", {inner, inner, kBias});
  time_embedder = TimestepEmbedding(weights, "condition_embedder.time_embedder", {c.freq_dim, inner, kBias}, inner);
  time_projection = Linear(weights, "condition_embedder.time_proj", {inner, 6 * inner, kBias});
  if (c.image_dim) picture.emplace(weights, "condition_embedder.image_embedder.", c);
  for (int64_t i = 0; i < c.num_layers; ++i) blocks.emplace_back(weights, fmt::format("blocks.{}.", i), c);
  proj_out = Linear(weights, "proj_out", {inner, c.out_channels * c.patch_volume(), kBias});
  table = weights.TakeF32("scale_shift_table", {1, 2, inner}).Reshape({2, inner});
}

// Rows of tokens (frames, then rows, then columns), features (channel, t, h, w).
class PatchLayout {
 public:
  PatchLayout(const WanTransformerConfig& config, const WanSequence& sequence) noexcept
      : config_(config), height_(sequence.height), width_(sequence.width), frames_(sequence.frames) {}

  // body(token, t, h, w) with the first latent position of the patch.
  template <class Body>
  void ForTokens(const Body& body) const noexcept {
    const int64_t columns = width_ / config_.patch_w, rows = height_ / config_.patch_h;
    ParallelFor(frames_ / config_.patch_t * rows * columns, 256, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        body(i, i / (rows * columns) * config_.patch_t, i / columns % rows * config_.patch_h,
             i % columns * config_.patch_w);
      }
    });
  }
  int64_t At(int64_t channel, int64_t t, int64_t h, int64_t w) const noexcept {
    return ((channel * frames_ + t) * height_ + h) * width_ + w;
  }

  void Gather(const Tensor& latents, Tensor& rows) const noexcept {
    if (rows.dtype() == DType::kF32) {
      GatherAs(latents.data<float>(), rows.mutable_data<float>());
    } else {
      GatherAs(latents.data<float>(), rows.mutable_data<BFloat16>());
    }
  }
  // Features (t, h, w, channel).
  void Scatter(const Tensor& rows, Tensor& latents) const noexcept {
    const float* from = rows.data<float>();
    float* to = latents.mutable_data<float>();
    const int64_t features = rows.dim(1), channels = config_.out_channels;
    ForTokens([&](int64_t token, int64_t t, int64_t h, int64_t w) {
      for (int64_t f = 0; f < features; ++f) {
        const int64_t place = f / channels;
        to[At(f % channels, t + place / (config_.patch_h * config_.patch_w),
              h + place / config_.patch_w % config_.patch_h, w + place % config_.patch_w)] = from[token * features + f];
      }
    });
  }

 private:
  template <class T>
  void GatherAs(const float* latents, T* rows) const noexcept {
    const int64_t volume = config_.patch_volume(), features = config_.in_channels * volume;
    ForTokens([&](int64_t token, int64_t t, int64_t h, int64_t w) {
      for (int64_t f = 0; f < features; ++f) {
        const int64_t place = f % volume;
        Store(latents[At(f / volume, t + place / (config_.patch_h * config_.patch_w),
                         h + place / config_.patch_w % config_.patch_h, w + place % config_.patch_w)],
              rows + token * features + f);
      }
    });
  }

  const WanTransformerConfig& config_;
  int64_t height_, width_, frames_;
};

// One call of Forward.
class WanForwardPass {
 public:
  WanForwardPass(const WanWeights& weights, const WanTransformer::Input& input, const WanSequence& sequence,
                 ForwardContext& context) noexcept
      : weights_(weights),
        input_(input),
        sequence_(sequence),
        context_(context),
        workspace_(context.workspace),
        rows_(WanTokens(weights.config, sequence)),
        inner_(weights.config.inner_dim()),
        eps_(static_cast<float>(weights.config.eps)) {}

  void Run(Tensor& prediction) noexcept;

 private:
  Tensor Take(int64_t rows, int64_t channels) noexcept { return workspace_.Take({rows, channels}, weights_.compute); }
  void Embed() noexcept;
  void Modulate() noexcept;
  void ModulateRun(const WanTimestep& run, int64_t first) noexcept;
  void BeginBlock(const Block& block) noexcept;
  void ModulatedNorm(int64_t row, Tensor& normed) noexcept;
  void AddGatedUpdate(const Tensor& update, int64_t row) noexcept;
  void SelfAttention(const Block& block, int64_t layer) noexcept;
  void SeeCachedKeys(const Tensor& k, const Tensor& v, int64_t layer, AttentionIO& io) noexcept;
  void CrossAttention(const Block& block, int64_t layer) noexcept;
  void FeedForward(const Block& block) noexcept;
  void Activate(Tensor& hidden) noexcept;
  void Norm(const Tensor& weight, Tensor& rows) noexcept;
  void Rotate(Tensor& rows) noexcept;
  BshdIn Heads(const Tensor& rows) const noexcept;
  BshdOut HeadsOut(Tensor& rows) const noexcept;

  const WanWeights& weights_;
  const WanTransformer::Input& input_;
  const WanSequence& sequence_;
  ForwardContext& context_;
  Workspace& workspace_;
  const int64_t rows_, inner_;
  const float eps_;
  Tensor residual_;  // [tokens, inner] f32
  std::array<Modulation, kMostRuns> runs_;
  size_t run_count_ = 0;
};

void WanForwardPass::Run(Tensor& prediction) noexcept {
  Workspace::Scope scope(workspace_);
  residual_ = workspace_.Take({rows_, inner_}, DType::kF32);
  Embed();
  Modulate();
  for (size_t i = 0; i < weights_.blocks.size(); ++i) {
    const TraceScope trace(workspace_.trace(), BlockLabel("block", static_cast<int64_t>(i)));
    const Block& block = weights_.blocks[i];
    BeginBlock(block);
    SelfAttention(block, static_cast<int64_t>(i));
    CrossAttention(block, static_cast<int64_t>(i));
    FeedForward(block);
  }
  Tensor normed = Take(rows_, inner_);
  for (size_t i = 0; i < run_count_; ++i) {
    Tensor part = runs_[i].Of(normed);
    LayerNormModulate(runs_[i].Of(residual_), runs_[i].last.Narrow(0, 1, 1).Reshape({inner_}),
                      runs_[i].last.Narrow(0, 0, 1).Reshape({inner_}), eps_, part);
  }
  const Tensor rows = weights_.proj_out.Forward(normed, DType::kF32, workspace_);
  PatchLayout(weights_.config, sequence_).Scatter(rows, prediction);
}

void WanForwardPass::Embed() noexcept {
  Workspace::Scope scope(workspace_);
  Tensor patches = Take(rows_, weights_.config.in_channels * weights_.config.patch_volume());
  PatchLayout(weights_.config, sequence_).Gather(input_.latents, patches);
  weights_.patch_embedding.Forward(patches, residual_, workspace_);
}

void WanForwardPass::Modulate() noexcept {
  int64_t first = 0;
  for (const WanTimestep& run : input_.timesteps) {
    ModulateRun(run, first);
    first += run.tokens;
  }
  TESSERA_CHECK(first == rows_);
}

// The embedder works in f32; what follows it sees the compute type, as in the original.
void WanForwardPass::ModulateRun(const WanTimestep& run, int64_t first) noexcept {
  TESSERA_CHECK(run_count_ < kMostRuns);
  Modulation& modulation = runs_[run_count_++];
  modulation.first = first;
  modulation.count = run.tokens;
  modulation.last = workspace_.Take({2, inner_}, DType::kF32);
  modulation.block = workspace_.Take({6, inner_}, DType::kF32);
  const Tensor embedding = weights_.time_embedder.Forward(run.timestep, DType::kF32, workspace_);
  Tensor activated = Take(1, inner_);
  Silu(embedding, activated);
  modulation.projected = weights_.time_projection.Forward(activated, DType::kF32, workspace_).Reshape({6, inner_});
  for (int64_t i = 0; i < 2; ++i) {
    Tensor row = modulation.last.Narrow(0, i, 1);
    Add(weights_.table.Narrow(0, i, 1), embedding, row);
  }
}

void WanForwardPass::BeginBlock(const Block& block) noexcept {
  for (size_t i = 0; i < run_count_; ++i) Add(block.table, runs_[i].projected, runs_[i].block);
}

void WanForwardPass::ModulatedNorm(int64_t row, Tensor& normed) noexcept {
  const TraceScope trace(workspace_.trace(), RowsLabel(TraceKind::kNorm, normed));
  for (size_t i = 0; i < run_count_; ++i) {
    Tensor part = runs_[i].Of(normed);
    LayerNormModulate(runs_[i].Of(residual_), runs_[i].Row(row + 1), runs_[i].Row(row), eps_, part);
  }
}

void WanForwardPass::AddGatedUpdate(const Tensor& update, int64_t row) noexcept {
  const TraceScope trace(workspace_.trace(), RowsLabel(TraceKind::kElementwise, update));
  for (size_t i = 0; i < run_count_; ++i) {
    Tensor part = runs_[i].Of(residual_);
    AddGated(part, runs_[i].Of(update), runs_[i].Row(row + 2));
  }
}

void WanForwardPass::SelfAttention(const Block& block, int64_t layer) noexcept {
  Workspace::Scope scope(workspace_);
  Tensor normed = Take(rows_, inner_);
  ModulatedNorm(kAttention, normed);
  Tensor q = block.self.q.Forward(normed, weights_.compute, workspace_);
  Tensor k = block.self.k.Forward(normed, weights_.compute, workspace_);
  const Tensor v = block.self.v.Forward(normed, weights_.compute, workspace_);
  Tensor gate;
  if (block.gate) gate = block.gate->Forward(normed, weights_.compute, workspace_);
  Norm(block.self.norm_q, q);
  Norm(block.self.norm_k, k);
  Rotate(q);
  Rotate(k);
  AttentionIO io;
  io.q = Heads(q);
  io.k = Heads(k);
  io.v = Heads(v);
  io.out = HeadsOut(normed);  // the normed rows are no longer needed
  if (block.gate) io.gate = Heads(gate);
  if (input_.cache != nullptr) SeeCachedKeys(k, v, layer, io);
  context_.attention.Run(WanSite(sequence_, AttentionRole::kSelf, layer), WanSelfProblem(weights_.config, sequence_),
                         io, workspace_);
  AddGatedUpdate(block.self.out.Forward(normed, weights_.compute, workspace_), kAttention);
}

void WanForwardPass::SeeCachedKeys(const Tensor& k, const Tensor& v, int64_t layer, AttentionIO& io) noexcept {
  {
    const TraceScope trace(workspace_.trace(), RowsLabel(TraceKind::kElementwise, k));
    input_.cache->Store(layer, k, v);
  }
  io.k = Heads(input_.cache->k(layer));
  io.v = Heads(input_.cache->v(layer));
  io.key_lengths = {&input_.cache->tokens(), 1};
}

void WanForwardPass::CrossAttention(const Block& block, int64_t layer) noexcept {
  Workspace::Scope scope(workspace_);
  const WanConditioning& conditioning = *input_.conditioning;
  const AttentionSite site = WanSite(sequence_, AttentionRole::kCross, layer);
  Tensor normed = Take(rows_, inner_);
  if (block.cross_norm) {
    block.cross_norm->Forward(residual_, normed);
  } else {
    ConvertElements(residual_.raw(), DType::kF32, normed.mutable_raw(), weights_.compute, normed.numel());
  }
  Tensor q = block.cross.q.Forward(normed, weights_.compute, workspace_);
  Norm(block.cross.norm_q, q);
  const auto at = static_cast<size_t>(layer);
  AttentionIO io;
  io.q = Heads(q);
  io.k = Heads(conditioning.text[at].k);
  io.v = Heads(conditioning.text[at].v);
  io.out = HeadsOut(normed);
  io.bias = {conditioning.text_bias.data(), DType::kF32, 0, 0, 0};
  io.key_lengths = {&conditioning.text_keys, 1};
  context_.attention.Run(site, WanTextProblem(weights_.config, sequence_), io, workspace_);
  if (!conditioning.image.empty()) {
    Tensor seen = Take(rows_, inner_);
    AttentionIO picture;
    picture.q = io.q;
    picture.k = Heads(conditioning.image[at].k);
    picture.v = Heads(conditioning.image[at].v);
    picture.out = HeadsOut(seen);
    context_.attention.Run(site, WanImageProblem(weights_.config, sequence_), picture, workspace_);
    Add(normed, seen, normed);
  }
  AddGated(residual_, block.cross.out.Forward(normed, weights_.compute, workspace_), {});
}

void WanForwardPass::FeedForward(const Block& block) noexcept {
  Workspace::Scope scope(workspace_);
  Tensor normed = Take(rows_, inner_);
  ModulatedNorm(kFeedForward, normed);
  Tensor hidden = block.feed_in.Forward(normed, weights_.compute, workspace_);
  Activate(hidden);
  block.feed_out.Forward(hidden, normed, workspace_);
  AddGatedUpdate(normed, kFeedForward);
}

void WanForwardPass::Activate(Tensor& hidden) noexcept {
  const TraceScope trace(workspace_.trace(), RowsLabel(TraceKind::kElementwise, hidden));
  GeluTanh(hidden, hidden);
}

void WanForwardPass::Norm(const Tensor& weight, Tensor& rows) noexcept {
  const TraceScope trace(workspace_.trace(), RowsLabel(TraceKind::kNorm, rows));
  RmsNorm(rows, weight, eps_, rows);
}

void WanForwardPass::Rotate(Tensor& rows) noexcept {
  const TraceScope trace(workspace_.trace(), RowsLabel(TraceKind::kRotary, rows));
  QkNormRotary operands{rows.SplitAxis(1, weights_.config.attention_head_dim),
                        {},
                        input_.rotary->cos,
                        input_.rotary->sin,
                        eps_,
                        RotaryKind::kInterleaved};
  ApplyQkNormRotary(operands);
}

BshdIn WanForwardPass::Heads(const Tensor& rows) const noexcept {
  return HeadsOf(rows, weights_.config.attention_head_dim);
}
BshdOut WanForwardPass::HeadsOut(Tensor& rows) const noexcept {
  return HeadsOf(&rows, weights_.config.attention_head_dim);
}

// Keys and values of the rows.
WanConditioning::Keys Project(const Linear& k, const Linear& v, const Tensor& norm_k, const Tensor& rows, float eps,
                              Workspace& workspace) {
  WanConditioning::Keys keys{Tensor::Empty({rows.dim(0), k.out_features()}, rows.dtype()),
                             Tensor::Empty({rows.dim(0), v.out_features()}, rows.dtype())};
  k.Forward(rows, keys.k, workspace);
  RmsNorm(keys.k, norm_k, eps, keys.k);
  v.Forward(rows, keys.v, workspace);
  return keys;
}

// Pictures' rows with their learned positions, [rows, image_dim] f32.
Tensor PlacedRows(const PictureEmbedding& embedding, const Tensor& rows) {
  if (!embedding.positions.defined()) return rows;
  TESSERA_CHECK(embedding.positions.numel() == rows.numel());
  Tensor placed = Tensor::Empty(rows.shape(), DType::kF32);
  Add(rows, embedding.positions.Reshape(rows.shape()), placed);
  return placed;
}

}  // namespace

struct WanTransformer::Parts {
  WanWeights weights;
};

WanTransformer::WanTransformer(const WanTransformerConfig& config, WeightMap weights, DType compute) {
  if (compute != DType::kF32 && compute != DType::kBF16) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{} in {}: activations can be f32 or bf16", weights.name(), Name(compute)));
  }
  parts_ = std::make_unique<Parts>(Parts{WanWeights(config, weights, compute)});
  weights.Finish();
}

WanTransformer::~WanTransformer() = default;

WanConditioning WanTransformer::Condition(const Tensor& prompt_embeds, int64_t valid, const Tensor& image_embeds,
                                          const WanSequence& sequence, ForwardContext& context) const {
  const WanWeights& parts = parts_->weights;
  const auto eps = static_cast<float>(parts.config.eps);
  const int64_t rows = prompt_embeds.dim(0), folded = rows - valid, keys = valid + (folded > 0 ? 1 : 0);
  TESSERA_CHECK(rows == sequence.text_rows && prompt_embeds.dtype() == parts.compute && valid <= rows);
  Workspace::Scope scope(context.workspace);
  WanConditioning conditioning;
  conditioning.text_keys = static_cast<int32_t>(keys);
  conditioning.text_bias.assign(static_cast<size_t>(rows), 0.0f);
  if (folded > 0) conditioning.text_bias[static_cast<size_t>(valid)] = std::log(static_cast<float>(folded));
  Tensor hidden = parts.text_1.Forward(prompt_embeds.Narrow(0, 0, keys), parts.compute, context.workspace);
  GeluTanh(hidden, hidden);
  const Tensor text = parts.text_2.Forward(hidden, parts.compute, context.workspace);
  for (const Block& block : parts.blocks) {
    conditioning.text.push_back(
        Project(block.cross.k, block.cross.v, block.cross.norm_k, text, eps, context.workspace));
  }
  if (!image_embeds.defined()) return conditioning;
  TESSERA_CHECK(parts.picture.has_value());
  const Tensor placed = PlacedRows(*parts.picture, image_embeds);
  const Tensor normed = parts.picture->norm_in.Forward(placed, parts.compute, context.workspace);
  Tensor inner = parts.picture->first.Forward(normed, parts.compute, context.workspace);
  GeluErf(inner, inner);
  const Tensor outer = parts.picture->second.Forward(inner, DType::kF32, context.workspace);
  const Tensor picture = parts.picture->norm_out.Forward(outer, parts.compute, context.workspace);
  for (const Block& block : parts.blocks) {
    conditioning.image.push_back(
        Project(block.picture->k, block.picture->v, block.picture->norm_k, picture, eps, context.workspace));
  }
  return conditioning;
}

void WanTransformer::Forward(const Input& input, const WanSequence& sequence, ForwardContext& context,
                             Tensor& prediction) const noexcept {
  const WanTransformerConfig& config = parts_->weights.config;
  TESSERA_CHECK(sequence.compute == parts_->weights.compute && input.conditioning != nullptr &&
                input.rotary != nullptr);
  TESSERA_CHECK((input.latents.shape() == Shape{config.in_channels, sequence.frames, sequence.height, sequence.width}));
  TESSERA_CHECK((prediction.shape() == Shape{config.out_channels, sequence.frames, sequence.height, sequence.width}));
  TESSERA_CHECK(input.rotary->cos.dim(0) == WanTokens(config, sequence));
  TESSERA_CHECK((input.cache != nullptr) == (sequence.cached_frames > 0));
  WanForwardPass(parts_->weights, input, sequence, context).Run(prediction);
}

}  // namespace tessera
