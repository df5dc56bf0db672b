// CLIP vision transformers: patches, a class row, learned positions, pre-norm layers (Radford et al., arXiv 2103.00020;
// transformers' CLIPVisionModel).
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/trace_labels.h"
#include "models/attention_rows.h"
#include "models/cost_meter.h"
#include "models/picture_preprocessing.h"
#include "models/vision_encoder.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr std::string_view kComponent = "image_encoder";
constexpr std::string_view kPrefix = "vision_model.";  // transformers 5 writes the names without it
constexpr int64_t kMostWidth = int64_t{1} << 20;
constexpr int64_t kMostTokens = int64_t{1} << 15;
constexpr auto kBias = LinearShape::Bias::kRequired;

enum class Gelu { kErf, kTanh, kQuick };

struct ClipConfig {
  int64_t width = 768, mlp_width = 3072, layers = 12, heads = 12;
  int64_t image_size = 224, patch_size = 32;
  float eps = 1e-5f;
  Gelu activation = Gelu::kQuick;

  int64_t used_layers() const noexcept { return layers - 1; }
  int64_t head_dim() const noexcept { return width / heads; }
  int64_t columns() const noexcept { return image_size / patch_size; }
  int64_t patches() const noexcept { return columns() * columns(); }
  int64_t tokens() const noexcept { return patches() + 1; }
  int64_t patch_features() const noexcept { return 3 * patch_size * patch_size; }
};

Gelu ReadActivation(const Config& config) {
  const std::string name = config.String("hidden_act", "quick_gelu");
  if (name == "gelu") return Gelu::kErf;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Gelu::kTanh;
  if (name == "quick_gelu") return Gelu::kQuick;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{}: hidden_act '{}' is not supported; supported: gelu, gelu_new, gelu_pytorch_tanh, "
                          "quick_gelu",
                          config.file(), Printable(name)));
}

void CheckSizes(const ClipConfig& sizes, const std::string& file) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: {}", file, what));
  };
  if (sizes.width % sizes.heads != 0) {
    fail(fmt::format("hidden_size {} is not a multiple of num_attention_heads {}", sizes.width, sizes.heads));
  }
  if (sizes.patch_size > sizes.image_size) {
    fail(fmt::format("patch_size {} is larger than image_size {}", sizes.patch_size, sizes.image_size));
  }
  if (sizes.columns() * sizes.columns() >= kMostTokens) {
    fail(fmt::format("image_size {} in patches of {} makes too many tokens; at most {}", sizes.image_size,
                     sizes.patch_size, kMostTokens));
  }
  if (!(sizes.eps >= 0)) fail(fmt::format("layer_norm_eps {} must not be negative", sizes.eps));
}

ClipConfig ReadConfig(const Config& config) {
  const int64_t channels = config.Int("num_channels", 3);
  if (channels != 3) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{}: num_channels {} is not supported; it must be 3", config.file(), channels));
  }
  ClipConfig sizes;
  sizes.width = config.Int("hidden_size", sizes.width, 1, kMostWidth);
  sizes.mlp_width = config.Int("intermediate_size", sizes.mlp_width, 1, kMostWidth);
  sizes.layers = config.Int("num_hidden_layers", sizes.layers, 1, 4096);
  sizes.heads = config.Int("num_attention_heads", sizes.heads, 1, 4096);
  sizes.image_size = config.Int("image_size", sizes.image_size, 1, 16384);
  sizes.patch_size = config.Int("patch_size", sizes.patch_size, 1, 16384);
  sizes.eps = static_cast<float>(config.Float("layer_norm_eps", 1e-5));
  sizes.activation = ReadActivation(config);
  CheckSizes(sizes, config.file());
  return sizes;
}

// Every picture has to end as large as the encoder's table of positions needs it.
void CheckPreprocessing(const PicturePreprocessing& preprocessing, const ClipConfig& sizes, const std::string& file) {
  using Resizing = PicturePreprocessing::Resizing;
  const bool crops = preprocessing.cropping == PicturePreprocessing::Cropping::kCenter;
  if (!crops && preprocessing.resizing != Resizing::kExact) return;  // depends on the picture
  const PictureSize& size = crops ? preprocessing.crop : preprocessing.size;
  if (size.height == sizes.image_size && size.width == sizes.image_size) return;
  throw Error(ErrorKind::kFormat, fmt::format("{}: pictures of {}x{} do not fit the vision encoder's image_size {}",
                                              file, size.width, size.height, sizes.image_size));
}

std::string LayerPrefix(int64_t layer) { return fmt::format("encoder.layers.{}.", layer); }

void IgnoreUnused(WeightMap& weights, const ClipConfig& sizes) {
  weights.Ignore(LayerPrefix(sizes.used_layers()) + "*");
  weights.Ignore("post_layernorm.*");
  weights.Ignore("visual_projection.weight");
  weights.Ignore("embeddings.position_ids");
}

// The convolution of the patches has their size as its stride, so it is a product.
Linear PatchEmbedding(WeightMap& weights, const ClipConfig& sizes) {
  const std::string name = "embeddings.patch_embedding";
  const Tensor weight = weights.Take(name + ".weight", {sizes.width, 3, sizes.patch_size, sizes.patch_size});
  WeightMap flat(weights.name());
  flat.Insert(name + ".weight", weight.Reshape({sizes.width, sizes.patch_features()}), weights.name());
  return Linear(flat, name, {sizes.patch_features(), sizes.width});
}

struct Layer {
  AffineLayerNorm attention_norm, mlp_norm;
  Linear q, k, v, out, up, down;

  Layer(WeightMap& weights, const std::string& prefix, const ClipConfig& sizes)
      : attention_norm(weights, prefix + "layer_norm1", sizes.width, sizes.eps),
        mlp_norm(weights, prefix + "layer_norm2", sizes.width, sizes.eps),
        q(weights, prefix + "self_attn.q_proj", {sizes.width, sizes.width, kBias}),
        k(weights, prefix + "self_attn.k_proj", {sizes.width, sizes.width, kBias}),
        v(weights, prefix + "self_attn.v_proj", {sizes.width, sizes.width, kBias}),
        out(weights, prefix + "self_attn.out_proj", {sizes.width, sizes.width, kBias}),
        up(weights, prefix + "mlp.fc1", {sizes.width, sizes.mlp_width, kBias}),
        down(weights, prefix + "mlp.fc2", {sizes.mlp_width, sizes.width, kBias}) {}
};

AttentionProblem ProblemFor(const ClipConfig& sizes, DType compute) {
  AttentionProblem problem;
  problem.dtype = compute;
  problem.heads = problem.kv_heads = static_cast<int>(sizes.heads);
  problem.head_dim = static_cast<int>(sizes.head_dim());
  problem.q_len = problem.kv_len = sizes.tokens();
  problem.role = AttentionRole::kEncoder;
  return problem;
}

AttentionSite SiteOf(int layer) { return {std::string(kComponent), AttentionRole::kEncoder, layer}; }

// x * sigmoid(1.702 x), in place.
template <class T>
void QuickGeluElements(T* values, int64_t count) noexcept {
  ParallelFor(count, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float x = ToFloat(values[i]);
      Store(x / (1.0f + std::exp(-1.702f * x)), values + i);
    }
  });
}

void Activate(Gelu gelu, Tensor& values) noexcept {
  switch (gelu) {
    case Gelu::kErf:
      return GeluErf(values, values);
    case Gelu::kTanh:
      return GeluTanh(values, values);
    case Gelu::kQuick:
      if (values.dtype() == DType::kF32) return QuickGeluElements(values.mutable_data<float>(), values.numel());
      return QuickGeluElements(values.mutable_data<BFloat16>(), values.numel());
  }
}

// pixels [3, image, image] to rows [patches, 3 * patch * patch].
template <class T>
void GatherPatches(const ClipConfig& sizes, const float* pixels, T* rows) noexcept {
  const int64_t patch = sizes.patch_size, edge = sizes.image_size, features = sizes.patch_features();
  for (int64_t token = 0; token < sizes.patches(); ++token) {
    const int64_t top = token / sizes.columns() * patch, left = token % sizes.columns() * patch;
    for (int64_t f = 0; f < features; ++f) {
      const int64_t channel = f / (patch * patch), y = f / patch % patch, x = f % patch;
      Store(pixels[(channel * edge + top + y) * edge + left + x], rows + token * features + f);
    }
  }
}

class ClipEncoder final : public VisionEncoder {
 public:
  ClipEncoder(const ClipConfig& sizes, WeightMap weights, const VisionEncoderJob& job) : sizes_(sizes), job_(job) {
    weights.StripPrefix(kPrefix);
    patch_embedding_ = PatchEmbedding(weights, sizes);
    class_row_ = weights.TakeF32("embeddings.class_embedding", {sizes.width});
    positions_ = weights.TakeF32("embeddings.position_embedding.weight", {sizes.tokens(), sizes.width});
    first_norm_ = AffineLayerNorm(weights, "pre_layrnorm", sizes.width, sizes.eps);
    for (int64_t i = 0; i < sizes.used_layers(); ++i) layers_.emplace_back(weights, LayerPrefix(i), sizes);
    IgnoreUnused(weights, sizes);
    weights.Finish();
  }

  Tensor Encode(const Tensor& pixels, ForwardContext& context) const override {
    TESSERA_CHECK(pixels.shape() == Shape({3, sizes_.image_size, sizes_.image_size}) && pixels.contiguous());
    const Pass pass{ProblemFor(sizes_, job_.compute), context};
    Tensor states = Tensor::Empty({sizes_.tokens(), sizes_.width}, DType::kF32);
    Embed(pixels, context.workspace, states);
    for (int i = 0; i < static_cast<int>(layers_.size()); ++i) {
      const TraceScope trace(context.workspace.trace(), BlockLabel("layer", i));
      AddAttention(layers_[static_cast<size_t>(i)], i, pass, states);
      AddMlp(layers_[static_cast<size_t>(i)], context.workspace, states);
    }
    return states;
  }

 private:
  struct Pass {
    AttentionProblem problem;
    ForwardContext& context;
  };

  void Embed(const Tensor& pixels, Workspace& workspace, Tensor& states) const noexcept {
    Workspace::Scope scope(workspace);
    Tensor patches = workspace.Take({sizes_.patches(), sizes_.patch_features()}, job_.compute);
    if (job_.compute == DType::kF32) {
      GatherPatches(sizes_, pixels.data<float>(), patches.mutable_data<float>());
    } else {
      GatherPatches(sizes_, pixels.data<float>(), patches.mutable_data<BFloat16>());
    }
    Tensor rows = workspace.Take({sizes_.tokens(), sizes_.width}, DType::kF32);
    std::copy_n(class_row_.data<float>(), sizes_.width, rows.mutable_data<float>());
    Tensor behind = rows.Narrow(0, 1, sizes_.patches());
    patch_embedding_.Forward(patches, behind, workspace);
    AddGated(rows, positions_, {});
    first_norm_.Forward(rows, states);
  }

  void AddAttention(const Layer& layer, int index, const Pass& pass, Tensor& residual) const noexcept {
    Workspace& workspace = pass.context.workspace;
    Workspace::Scope scope(workspace);
    const Tensor normed = layer.attention_norm.Forward(residual, job_.compute, workspace);
    const Tensor q = layer.q.Forward(normed, job_.compute, workspace);
    const Tensor k = layer.k.Forward(normed, job_.compute, workspace);
    const Tensor v = layer.v.Forward(normed, job_.compute, workspace);
    Tensor out = workspace.Take(q.shape(), job_.compute);
    const int64_t dim = sizes_.head_dim();
    AttentionIO io;
    io.q = HeadsOf(q, dim);
    io.k = HeadsOf(k, dim);
    io.v = HeadsOf(v, dim);
    io.out = HeadsOf(&out, dim);
    pass.context.attention.Run(SiteOf(index), pass.problem, io, workspace);
    AddGated(residual, layer.out.Forward(out, job_.compute, workspace), {});
  }

  void AddMlp(const Layer& layer, Workspace& workspace, Tensor& residual) const noexcept {
    Workspace::Scope scope(workspace);
    const Tensor normed = layer.mlp_norm.Forward(residual, job_.compute, workspace);
    Tensor up = layer.up.Forward(normed, job_.compute, workspace);
    Activate(sizes_.activation, up);
    AddGated(residual, layer.down.Forward(up, job_.compute, workspace), {});
  }

  ClipConfig sizes_;
  VisionEncoderJob job_;
  Linear patch_embedding_;
  Tensor class_row_, positions_;  // [width], [tokens, width]
  AffineLayerNorm first_norm_;
  std::vector<Layer> layers_;
};

class ClipSpec final : public VisionEncoderSpec {
 public:
  ClipSpec(const ClipConfig& sizes, const PicturePreprocessing& preprocessing)
      : sizes_(sizes), preprocessing_(preprocessing) {}
  int64_t width() const override { return sizes_.width; }
  int64_t tokens() const override { return sizes_.tokens(); }

  Tensor Pixels(const Picture& picture) const override {
    const Tensor pixels = ToPixels(picture, preprocessing_);
    if (pixels.dim(1) == sizes_.image_size && pixels.dim(2) == sizes_.image_size) return pixels;
    throw Error(ErrorKind::kUnsupported,
                fmt::format("a picture of {}x{} becomes {}x{} for the vision encoder, which needs {}x{}", picture.width,
                            picture.height, pixels.dim(2), pixels.dim(1), sizes_.image_size, sizes_.image_size));
  }

  std::vector<SiteProblem> Sites(const VisionEncoderJob& job) const override {
    CheckJob(job);
    std::vector<SiteProblem> sites;
    for (int i = 0; i < static_cast<int>(sizes_.used_layers()); ++i) {
      sites.push_back({SiteOf(i), ProblemFor(sizes_, job.compute)});
    }
    return sites;
  }

  Cost CostOf(const VisionEncoderJob& job) const override {
    CheckJob(job);
    CostMeter meter;
    {
      CostMeter::Scope scope(meter);
      meter.Take({sizes_.patches(), sizes_.patch_features()}, job.compute);
      meter.Take({sizes_.tokens(), sizes_.width}, DType::kF32);
      meter.Linear(sizes_.patches(), sizes_.patch_features(), sizes_.width, job.compute);
    }
    for (int64_t i = 0; i < sizes_.used_layers(); ++i) MeterLayer(job, meter);
    return meter.cost();
  }

  size_t UsedWeightBytes(const WeightMap& weights) const override {
    WeightMap copy = weights;
    copy.StripPrefix(kPrefix);
    const std::string last = LayerPrefix(sizes_.used_layers());
    size_t bytes = 0;
    for (const std::string& key : copy.Keys()) {
      const bool is_used = (key.starts_with("embeddings.") && key != "embeddings.position_ids") ||
                           key.starts_with("pre_layrnorm.") || (key.starts_with("encoder.") && !key.starts_with(last));
      if (is_used) bytes += copy.Peek(key).bytes();
    }
    return bytes;
  }

  std::unique_ptr<VisionEncoder> Load(WeightMap weights, const VisionEncoderJob& job) const override {
    CheckJob(job);
    return std::make_unique<ClipEncoder>(sizes_, std::move(weights), job);
  }

 private:
  void CheckJob(const VisionEncoderJob& job) const {
    if (job.compute == DType::kF32 || job.compute == DType::kBF16) return;
    throw Error(ErrorKind::kUnsupported,
                fmt::format("vision encoder in {}: activations can be f32 or bf16", Name(job.compute)));
  }

  void MeterLayer(const VisionEncoderJob& job, CostMeter& meter) const {
    const int64_t tokens = sizes_.tokens(), width = sizes_.width;
    {
      CostMeter::Scope scope(meter);
      meter.Take({tokens, width}, job.compute);
      for (int i = 0; i < 3; ++i) meter.LinearInto({tokens, width}, job.compute, width, job.compute);
      meter.Take({tokens, width}, job.compute);
      meter.Attention(ProblemFor(sizes_, job.compute));
      meter.LinearInto({tokens, width}, job.compute, width, job.compute);
    }
    CostMeter::Scope scope(meter);
    meter.Take({tokens, width}, job.compute);
    meter.LinearInto({tokens, sizes_.mlp_width}, job.compute, width, job.compute);
    meter.LinearInto({tokens, width}, job.compute, sizes_.mlp_width, job.compute);
  }

  ClipConfig sizes_;
  PicturePreprocessing preprocessing_;
};

std::unique_ptr<VisionEncoderSpec> Parse(const Config& config, const Config& preprocessor) {
  const ClipConfig sizes = ReadConfig(config);
  const PicturePreprocessing preprocessing = ReadPicturePreprocessing(preprocessor);
  CheckPreprocessing(preprocessing, sizes, preprocessor.file());
  return std::make_unique<ClipSpec>(sizes, preprocessing);
}

}  // namespace

extern const VisionEncoderArchitecture clip_vision_encoder;
constinit const VisionEncoderArchitecture clip_vision_encoder = {"CLIPVisionModel CLIPVisionModelWithProjection",
                                                                 Parse};

}  // namespace tessera
