// The two-dimensional KL autoencoders of FLUX.1, FLUX.2 and Z-Image (specification section 10.1; diffusers'
// AutoencoderKL and AutoencoderKLFlux2).
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "models/autoencoder.h"
#include "models/convolution_network.h"
#include "models/cost_meter.h"
#include "models/tiles.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

using Direction = AutoencoderJob::Direction;

constexpr char kComponent[] = "vae";
constexpr int64_t kMostChannels = 1 << 16;
constexpr float kNormEps = 1e-6f;
constexpr int64_t kLargestWhole = int64_t{1} << 21;  // pixels that are decoded without tiles
constexpr int64_t kDefaultTile = 1024;               // pixels per side
constexpr int64_t kSmallestTile = 16;                // latent positions per side
constexpr int64_t kOverlapPart = 4;                  // neighbours share at least this part of a tile's side

struct KlConfig {
  std::vector<int64_t> encoder_channels, decoder_channels;  // from full resolution down
  int64_t picture_channels = 3, latent_channels = 4;
  int64_t layers_per_block = 1;
  int64_t norm_groups = 32;
  bool quant_conv = true, post_quant_conv = true, mid_attention = true;
  int64_t patch_area = 0;  // positions per patch of the latent statistics; 0: no statistics
  double statistics_eps = 1e-4;

  int64_t levels() const noexcept { return static_cast<int64_t>(encoder_channels.size()); }
  int64_t factor() const noexcept { return int64_t{1} << (levels() - 1); }
};

[[noreturn]] void Reject(const Config& config, ErrorKind kind, const std::string& why) {
  throw Error(kind, fmt::format("{}: {}", config.file(), why));
}

void CheckBlockTypes(const Config& config, const std::string& key, const std::string& supported) {
  if (!config.Has(key)) return;
  for (const auto& type : config.json()[key]) {
    if (type != supported) {
      Reject(config, ErrorKind::kUnsupported,
             fmt::format("{} has {}; supported: {}", key, Printable(type.dump()), supported));
    }
  }
}

void CheckChannels(const Config& config, const KlConfig& sizes, const std::vector<int64_t>& channels) {
  if (channels.empty() || channels.size() > 8 || channels.size() != sizes.encoder_channels.size()) {
    Reject(config, ErrorKind::kFormat,
           fmt::format("block_out_channels and decoder_block_out_channels must list the same "
                       "1 to 8 levels, not {} and {}",
                       sizes.encoder_channels.size(), channels.size()));
  }
  for (const int64_t width : channels) {
    if (width < 1 || width > kMostChannels || width % sizes.norm_groups != 0) {
      Reject(config, ErrorKind::kFormat,
             fmt::format("block of {} channels: 1 to {} channels that norm_num_groups {} divides", width, kMostChannels,
                         sizes.norm_groups));
    }
  }
}

void RefuseOtherKinds(const Config& config) {
  CheckBlockTypes(config, "down_block_types", "DownEncoderBlock2D");
  CheckBlockTypes(config, "up_block_types", "UpDecoderBlock2D");
  const std::string activation = config.String("act_fn", "silu");
  if (activation != "silu" && activation != "swish") {
    Reject(config, ErrorKind::kUnsupported,
           fmt::format("act_fn '{}' is not supported; supported: silu", Printable(activation)));
  }
  for (const char* key : {"in_channels", "out_channels"}) {
    const int64_t channels = config.Int(key, 3);
    if (channels != 3) {
      Reject(config, ErrorKind::kUnsupported, fmt::format("{} {} is not supported; pictures have 3", key, channels));
    }
  }
}

void ReadStatistics(const Config& config, KlConfig& sizes) {
  const auto patch = config.Ints("patch_size", {2, 2});
  sizes.patch_area = 1;
  for (const int64_t side : patch) {
    if (side < 1 || side > 64)
      Reject(config, ErrorKind::kFormat, fmt::format("patch_size has {}; 1 to 64 are possible", side));
    sizes.patch_area *= side;
  }
  if (patch.size() != 2)
    Reject(config, ErrorKind::kFormat, fmt::format("patch_size has {} sides, not 2", patch.size()));
  sizes.statistics_eps = config.Float("batch_norm_eps", 1e-4);
  if (!(sizes.statistics_eps >= 0)) {
    Reject(config, ErrorKind::kFormat, fmt::format("batch_norm_eps {} must not be negative", sizes.statistics_eps));
  }
}

KlConfig ReadConfig(const Config& config) {
  RefuseOtherKinds(config);
  const bool flux2 = config.String("_class_name", "AutoencoderKLFlux2") == "AutoencoderKLFlux2";
  KlConfig sizes;
  sizes.encoder_channels =
      config.Ints("block_out_channels", flux2 ? std::vector<int64_t>{128, 256, 512, 512} : std::vector<int64_t>{64});
  sizes.decoder_channels = config.Ints("decoder_block_out_channels", sizes.encoder_channels);
  sizes.latent_channels = config.Int("latent_channels", flux2 ? 32 : 4, 1, kMostChannels);
  sizes.layers_per_block = config.Int("layers_per_block", flux2 ? 2 : 1, 1, 64);
  sizes.norm_groups = config.Int("norm_num_groups", sizes.norm_groups, 1, kMostChannels);
  sizes.quant_conv = config.Bool("use_quant_conv", true);
  sizes.post_quant_conv = config.Bool("use_post_quant_conv", true);
  sizes.mid_attention = config.Bool("mid_block_add_attention", true);
  if (flux2) ReadStatistics(config, sizes);
  CheckChannels(config, sizes, sizes.encoder_channels);
  CheckChannels(config, sizes, sizes.decoder_channels);
  for (const char* key : {"down_block_types", "up_block_types"}) {
    if (config.Has(key) && static_cast<int64_t>(config.json()[key].size()) != sizes.levels()) {
      Reject(
          config, ErrorKind::kFormat,
          fmt::format("{} lists {} blocks, but block_out_channels {}", key, config.json()[key].size(), sizes.levels()));
    }
  }
  return sizes;
}

// Builds both directions.
class KlBuilder {
 public:
  KlBuilder(const KlConfig& config, int64_t input_channels)
      : config_(config), program_(input_channels, config.norm_groups, kNormEps), top_(program_.input()) {}

  static ConvolutionProgram Encoder(const KlConfig& config) {
    KlBuilder builder(config, config.picture_channels);
    builder.Encode();
    return std::move(builder.program_);
  }
  static ConvolutionProgram Decoder(const KlConfig& config) {
    KlBuilder builder(config, config.latent_channels);
    builder.Decode();
    return std::move(builder.program_);
  }

 private:
  void Encode() {
    const int64_t moments = 2 * config_.latent_channels;
    Convolve3("encoder.conv_in", config_.encoder_channels.front());
    for (int64_t level = 0; level < config_.levels(); ++level) {
      const std::string prefix = fmt::format("encoder.down_blocks.{}.", level);
      const int64_t width = config_.encoder_channels[static_cast<size_t>(level)];
      for (int64_t i = 0; i < config_.layers_per_block; ++i) Resnet(fmt::format("{}resnets.{}.", prefix, i), width);
      if (level + 1 < config_.levels()) Downsample(prefix + "downsamplers.0.conv");
    }
    MidBlock("encoder.mid_block.");
    program_.NormInPlace(top_, "encoder.conv_norm_out", Activation::kSilu);
    Convolve3("encoder.conv_out", moments);
    if (config_.quant_conv) Convolve1("quant_conv", moments);
  }

  void Decode() {
    if (config_.post_quant_conv) Convolve1("post_quant_conv", config_.latent_channels);
    Convolve3("decoder.conv_in", config_.decoder_channels.back());
    MidBlock("decoder.mid_block.");
    for (int64_t block = 0; block < config_.levels(); ++block) {
      const std::string prefix = fmt::format("decoder.up_blocks.{}.", block);
      const int64_t width = config_.decoder_channels[static_cast<size_t>(config_.levels() - 1 - block)];
      for (int64_t i = 0; i <= config_.layers_per_block; ++i) Resnet(fmt::format("{}resnets.{}.", prefix, i), width);
      if (block + 1 == config_.levels()) break;
      top_ = program_.Upsample(top_);
      Convolve3(prefix + "upsamplers.0.conv", width);
    }
    program_.NormInPlace(top_, "decoder.conv_norm_out", Activation::kSilu);
    Convolve3("decoder.conv_out", config_.picture_channels);
  }

  void Convolve3(const std::string& prefix, int64_t out) {
    top_ = program_.Convolve(top_, prefix, {program_.channels(top_), out});
  }
  void Convolve1(const std::string& prefix, int64_t out) {
    top_ = program_.Convolve(top_, prefix, {program_.channels(top_), out, 1, 1, 0, 0});
  }
  // Zeros go to the right and bottom only.
  void Downsample(const std::string& prefix) {
    const int64_t width = program_.channels(top_);
    top_ = program_.Convolve(top_, prefix, {width, width, 3, 2, 0, 1});
  }

  // Where the width changes the shortcut goes first: then the block's input may be normalised in place.
  void Resnet(const std::string& prefix, int64_t width) {
    const Feature input = top_;
    const bool widens = program_.channels(input) != width;
    const Feature residual =
        widens ? program_.Convolve(input, prefix + "conv_shortcut", {program_.channels(input), width, 1, 1, 0, 0})
               : input;
    if (widens) {
      program_.NormInPlace(input, prefix + "norm1", Activation::kSilu);
    } else {
      top_ = program_.Norm(input, prefix + "norm1", Activation::kSilu);
    }
    Convolve3(prefix + "conv1", width);
    program_.NormInPlace(top_, prefix + "norm2", Activation::kSilu);
    Convolve3(prefix + "conv2", width);
    program_.AddTo(residual, top_);
    top_ = residual;
  }

  void MidBlock(const std::string& prefix) {
    const int64_t width = program_.channels(top_);
    Resnet(prefix + "resnets.0.", width);
    if (config_.mid_attention) MidAttention(prefix + "attentions.0.");
    Resnet(prefix + "resnets.1.", width);
  }

  void MidAttention(const std::string& prefix) {
    const Feature normed = program_.Norm(top_, prefix + "group_norm", Activation::kNone);
    const Feature q = program_.Project(normed, prefix + "to_q"), k = program_.Project(normed, prefix + "to_k");
    const Feature v = program_.Project(normed, prefix + "to_v");
    program_.AddTo(top_, program_.Project(program_.Attend(q, k, v), prefix + "to_out.0"));
  }

  const KlConfig& config_;
  ConvolutionProgram program_;
  Feature top_;  // the feature that the next layer reads
};

ConvolutionProgram ProgramFor(const KlConfig& config, Direction direction) {
  return direction == Direction::kEncode ? KlBuilder::Encoder(config) : KlBuilder::Decoder(config);
}

// How a picture is cut up, in latent positions.
struct KlTiling {
  TileAxis rows, columns;
  size_t count() const noexcept { return rows.starts.size() * columns.starts.size(); }
  int64_t IndexOf(size_t row, size_t column) const noexcept {
    return static_cast<int64_t>(row * columns.starts.size() + column);
  }
};

KlTiling TilingFor(const KlConfig& config, int64_t tile_pixels, int64_t rows, int64_t columns) {
  if (tile_pixels == 0) return {{rows, {0}}, {columns, {0}}};
  const int64_t tile = tile_pixels / config.factor();
  return {SplitIntoTiles(rows, tile, tile / kOverlapPart), SplitIntoTiles(columns, tile, tile / kOverlapPart)};
}

void CheckJob(const KlConfig& config, const AutoencoderJob& job) {
  if (job.frames != 1) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{} frames: this vae is made for single pictures", job.frames));
  }
  if (job.compute != DType::kF32 && job.compute != DType::kBF16) {
    throw Error(ErrorKind::kUnsupported, fmt::format("vae in {}: activations can be f32 or bf16", Name(job.compute)));
  }
  if (job.tile != 0 && job.tile < kSmallestTile * config.factor()) {
    throw Error(ErrorKind::kUsage,
                fmt::format("vae tiles of {} pixels are too small; 0 (whole pictures) or {} and more work", job.tile,
                            kSmallestTile * config.factor()));
  }
  if (job.height < config.factor() || job.width < config.factor() || job.height % config.factor() != 0 ||
      job.width % config.factor() != 0) {
    throw Error(ErrorKind::kUsage, fmt::format("picture of {}x{} pixels: the vae needs sides that are multiples of {}",
                                               job.width, job.height, config.factor()));
  }
}

// One rectangle of a picture [height, width, channels]: rows and columns that it starts at.
struct Corner {
  int64_t row, column;
};

// Part of f32 latents [channels, h, w] as channels-last `dst` [1, h', w', channels].
void CutLatents(const Tensor& latents, Corner corner, Tensor& dst) {
  const int64_t rows = dst.dim(1), columns = dst.dim(2), channels = dst.dim(3);
  Tensor part = Tensor::Empty({rows, columns, channels}, DType::kF32);
  float* to = part.mutable_data<float>();
  for (int64_t y = 0; y < rows; ++y) {
    for (int64_t x = 0; x < columns; ++x) {
      for (int64_t c = 0; c < channels; ++c) {
        *to++ = latents.data<float>()[(c * latents.dim(1) + corner.row + y) * latents.dim(2) + corner.column + x];
      }
    }
  }
  ConvertElements(part.raw(), DType::kF32, dst.mutable_raw(), dst.dtype(), dst.numel());
}

// Part of an f32 picture [h, w, 3] as `dst` [1, h', w', 3].
void CutPicture(const Tensor& picture, Corner corner, Tensor& dst) {
  const int64_t length = dst.dim(2) * dst.dim(3);
  for (int64_t y = 0; y < dst.dim(1); ++y) {
    const float* from = picture.data<float>() + ((corner.row + y) * picture.dim(1) + corner.column) * picture.dim(2);
    Tensor row = dst.Narrow(1, y, 1);
    ConvertElements(from, DType::kF32, row.mutable_raw(), dst.dtype(), length);
  }
}

float LoadElement(const Tensor& tensor, int64_t index) noexcept {
  return tensor.dtype() == DType::kF32 ? tensor.data<float>()[index] : ToFloat(tensor.data<BFloat16>()[index]);
}

struct Blend {
  std::vector<float> rows, columns;  // weights of the tile's positions
};

// Adds a weighted tile [1, h', w', 3] to an f32 picture [h, w, 3].
void AddToPicture(const Tensor& tile, Corner corner, const Blend& blend, Tensor& picture) {
  const int64_t columns = tile.dim(2), channels = tile.dim(3);
  float* pixels = picture.mutable_data<float>();
  ParallelFor(tile.dim(1), 16, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      float* to = pixels + ((corner.row + y) * picture.dim(1) + corner.column) * channels;
      for (int64_t i = 0; i < columns * channels; ++i) {
        const float weight = blend.rows[static_cast<size_t>(y)] * blend.columns[static_cast<size_t>(i / channels)];
        to[i] += weight * LoadElement(tile, y * columns * channels + i);
      }
    }
  });
}

// Adds the first channels of a weighted tile [1, h', w', moments] to f32 latents [channels, h, w].
void AddToLatents(const Tensor& tile, Corner corner, const Blend& blend, Tensor& latents) {
  const int64_t columns = tile.dim(2), moments = tile.dim(3);
  float* values = latents.mutable_data<float>();
  for (int64_t c = 0; c < latents.dim(0); ++c) {
    for (int64_t y = 0; y < tile.dim(1); ++y) {
      float* to = values + (c * latents.dim(1) + corner.row + y) * latents.dim(2) + corner.column;
      for (int64_t x = 0; x < columns; ++x) {
        const float weight = blend.rows[static_cast<size_t>(y)] * blend.columns[static_cast<size_t>(x)];
        to[x] += weight * LoadElement(tile, (y * columns + x) * moments + c);
      }
    }
  }
}

// Calls body(i, j) for every tile, row by row.
template <class Body>
void ForEachTile(const KlTiling& tiling, Body body) {
  for (size_t i = 0; i < tiling.rows.starts.size(); ++i) {
    for (size_t j = 0; j < tiling.columns.starts.size(); ++j) body(i, j);
  }
}

class KlAutoencoder final : public Autoencoder {
 public:
  KlAutoencoder(const KlConfig& config, WeightMap& weights, const AutoencoderJob& job)
      : config_(config), job_(job), network_(ProgramFor(config, job.direction), weights, job.compute, kComponent) {}

  Tensor Encode(std::span<const Tensor> frames, ForwardContext& context) const override {
    TESSERA_CHECK(frames.size() == 1);
    const Tensor& picture = frames.front();
    TESSERA_CHECK(job_.direction == Direction::kEncode && picture.rank() == 3 && picture.dim(2) == 3);
    const int64_t factor = config_.factor(), rows = picture.dim(0) / factor, columns = picture.dim(1) / factor;
    TESSERA_CHECK(rows * factor == picture.dim(0) && columns * factor == picture.dim(1));
    const KlTiling tiling = TilingFor(config_, job_.tile, rows, columns);
    Tensor latents = Tensor::Zeros({config_.latent_channels, rows, columns}, DType::kF32);
    ForEachTile(tiling, [&](size_t i, size_t j) {
      const TraceScope trace(context.workspace.trace(), BlockLabel("tile", tiling.IndexOf(i, j)));
      Workspace::Scope scope(context.workspace);
      const Corner corner{tiling.rows.starts[i], tiling.columns.starts[j]};
      Tensor input =
          context.workspace.Take({1, tiling.rows.tile * factor, tiling.columns.tile * factor, 3}, job_.compute);
      CutPicture(picture, {corner.row * factor, corner.column * factor}, input);
      const Blend blend{BlendWeights(tiling.rows, i, 1), BlendWeights(tiling.columns, j, 1)};
      AddToLatents(network_.Run(input, context), corner, blend, latents);
    });
    return latents.Reshape({config_.latent_channels, 1, rows, columns});
  }

  void Decode(const Tensor& film, ForwardContext& context, const TakeFrame& take) const override {
    TESSERA_CHECK(job_.direction == Direction::kDecode && film.rank() == 4 && film.dim(1) == 1 &&
                  film.dim(0) == config_.latent_channels);
    const Tensor latents = film.Reshape({film.dim(0), film.dim(2), film.dim(3)});
    const int64_t factor = config_.factor();
    const KlTiling tiling = TilingFor(config_, job_.tile, latents.dim(1), latents.dim(2));
    Tensor picture = Tensor::Zeros({latents.dim(1) * factor, latents.dim(2) * factor, 3}, DType::kF32);
    ForEachTile(tiling, [&](size_t i, size_t j) {
      const TraceScope trace(context.workspace.trace(), BlockLabel("tile", tiling.IndexOf(i, j)));
      Workspace::Scope scope(context.workspace);
      const Corner corner{tiling.rows.starts[i], tiling.columns.starts[j]};
      Tensor input =
          context.workspace.Take({1, tiling.rows.tile, tiling.columns.tile, config_.latent_channels}, job_.compute);
      CutLatents(latents, corner, input);
      const Blend blend{BlendWeights(tiling.rows, i, factor), BlendWeights(tiling.columns, j, factor)};
      AddToPicture(network_.Run(input, context), {corner.row * factor, corner.column * factor}, blend, picture);
    });
    take(picture);
  }

 private:
  KlConfig config_;
  AutoencoderJob job_;
  ConvolutionNetwork network_;
};

class KlSpec final : public AutoencoderSpec {
 public:
  explicit KlSpec(const KlConfig& config) : config_(config) {}
  int64_t latent_channels() const override { return config_.latent_channels; }
  int64_t spatial_factor() const override { return config_.factor(); }
  int64_t TileFor(int64_t height, int64_t width) const override {
    return height * width <= kLargestWhole ? 0 : kDefaultTile;
  }

  std::vector<SiteProblem> Sites(const AutoencoderJob& job) const override {
    CheckJob(config_, job);
    return ConvolutionNetwork::Sites(ProgramFor(config_, job.direction), InputShape(job), job.compute, kComponent);
  }

  Cost CostOf(const AutoencoderJob& job) const override {
    CheckJob(config_, job);
    const Shape input = InputShape(job);
    Cost cost = ProgramFor(config_, job.direction).CostOf(input, job.compute);
    const auto tiles = static_cast<double>(TilingOf(job).count());
    cost.linear_flops *= tiles;
    cost.attention_flops *= tiles;
    cost.convolution_flops *= tiles;
    cost.workspace_bytes += (static_cast<size_t>(input.numel()) * SizeOf(job.compute) + 63) / 64 * 64;
    return cost;
  }

  std::unique_ptr<Autoencoder> Load(WeightMap weights, const AutoencoderJob& job) const override {
    CheckJob(config_, job);
    auto autoencoder = std::make_unique<KlAutoencoder>(config_, weights, job);
    const Direction other = job.direction == Direction::kEncode ? Direction::kDecode : Direction::kEncode;
    for (const auto& [name, shape] : ProgramFor(config_, other).Weights()) weights.Take(name, shape);
    if (config_.patch_area > 0) {
      const Shape statistics{config_.latent_channels * config_.patch_area};
      weights.Take("bn.running_mean", statistics);
      weights.Take("bn.running_var", statistics);
      if (weights.Contains("bn.num_batches_tracked")) weights.Ignore("bn.num_batches_tracked");
    }
    weights.Finish();
    return autoencoder;
  }

  LatentStatistics Statistics(WeightMap weights) const override {
    if (config_.patch_area == 0) return {};
    const int64_t channels = config_.latent_channels * config_.patch_area;
    LatentStatistics statistics{weights.TakeF32("bn.running_mean", {channels}), Tensor::Empty({channels}, DType::kF32)};
    const Tensor variance = weights.TakeF32("bn.running_var", {channels});
    for (int64_t i = 0; i < channels; ++i) {
      const float value = variance.data<float>()[i] + static_cast<float>(config_.statistics_eps);
      if (!(value > 0) || !std::isfinite(statistics.mean.data<float>()[i])) {
        throw Error(
            ErrorKind::kFormat,
            fmt::format("{}: bn.running_mean and bn.running_var make no statistics at channel {}", weights.name(), i));
      }
      statistics.deviation.mutable_data<float>()[i] = std::sqrt(value);
    }
    return statistics;
  }

 private:
  KlTiling TilingOf(const AutoencoderJob& job) const {
    return TilingFor(config_, job.tile, job.height / config_.factor(), job.width / config_.factor());
  }

  // What one run of the network gets.
  Shape InputShape(const AutoencoderJob& job) const {
    const KlTiling tiling = TilingOf(job);
    if (job.direction == Direction::kDecode) return {1, tiling.rows.tile, tiling.columns.tile, config_.latent_channels};
    return {1, tiling.rows.tile * config_.factor(), tiling.columns.tile * config_.factor(), config_.picture_channels};
  }

  KlConfig config_;
};

std::unique_ptr<AutoencoderSpec> Parse(const Config& config) { return std::make_unique<KlSpec>(ReadConfig(config)); }

}  // namespace

extern const AutoencoderArchitecture kl_autoencoder;
constinit const AutoencoderArchitecture kl_autoencoder = {"AutoencoderKLFlux2 AutoencoderKL", Parse};

}  // namespace tessera
