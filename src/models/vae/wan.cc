// The causal film autoencoders of Wan 2.1 (also Qwen-Image's) and Wan 2.2 (specification sections 10.2 and 10.3;
// diffusers' AutoencoderKLWan).
#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "models/autoencoder.h"
#include "models/film_network.h"

namespace tessera {
namespace {

using Direction = AutoencoderJob::Direction;

constexpr char kComponent[] = "vae";
constexpr int64_t kMostChannels = 1 << 16;
constexpr int64_t kMostFrames = 1 << 20;

struct WanVaeConfig {
  int64_t base = 96, decoder_base = 96, latent_channels = 16, pixel_channels = 3, patch = 1;
  std::vector<int64_t> multipliers = {1, 2, 4, 4};
  int64_t blocks = 2;                                // residual layers per level
  std::vector<bool> temporal = {false, true, true};  // levels that halve the frames, from full resolution down
  bool is_residual = false;                          // Wan 2.2: shortcuts around whole levels
  std::vector<double> mean, deviation;               // per latent channel

  size_t levels() const noexcept { return multipliers.size(); }
  int64_t spatial_factor() const noexcept { return patch << (levels() - 1); }
  int64_t temporal_factor() const noexcept { return int64_t{1} << std::count(temporal.begin(), temporal.end(), true); }
};

[[noreturn]] void Reject(const Config& config, ErrorKind kind, const std::string& why) {
  throw Error(kind, fmt::format("{}: {}", config.file(), why));
}

std::vector<double> ReadNumbers(const Config& config, const std::string& key, const WanVaeConfig& sizes,
                                double fallback) {
  std::vector<double> numbers(static_cast<size_t>(sizes.latent_channels), fallback);
  if (!config.Has(key)) return numbers;
  const auto& list = config.json()[key];
  if (!list.is_array() || list.size() != numbers.size()) {
    Reject(config, ErrorKind::kFormat,
           fmt::format("{} must list {} numbers, one per latent channel", key, numbers.size()));
  }
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (!list[i].is_number()) Reject(config, ErrorKind::kFormat, fmt::format("{}[{}] must be a number", key, i));
    numbers[i] = list[i].get<double>();
  }
  return numbers;
}

std::vector<bool> ReadTemporal(const Config& config, const WanVaeConfig& sizes) {
  if (!config.Has("temperal_downsample")) return sizes.temporal;
  const auto& list = config.json()["temperal_downsample"];
  std::vector<bool> temporal;
  if (!list.is_array()) Reject(config, ErrorKind::kFormat, "temperal_downsample must be a list of true and false");
  for (const auto& entry : list) {
    if (!entry.is_boolean()) Reject(config, ErrorKind::kFormat, "temperal_downsample must be a list of true and false");
    temporal.push_back(entry.get<bool>());
  }
  return temporal;
}

void CheckSizes(const Config& config, const WanVaeConfig& sizes) {
  if (sizes.multipliers.empty() || sizes.multipliers.size() > 8 ||
      sizes.temporal.size() + 1 != sizes.multipliers.size()) {
    Reject(config, ErrorKind::kFormat,
           fmt::format("dim_mult of {} levels needs temperal_downsample of one less, not {}; 1 to 8 levels work",
                       sizes.multipliers.size(), sizes.temporal.size()));
  }
  for (const int64_t multiplier : sizes.multipliers) {
    if (multiplier < 1 || multiplier * std::max(sizes.base, sizes.decoder_base) > kMostChannels) {
      Reject(config, ErrorKind::kFormat,
             fmt::format("dim_mult has {}; 1 and more, up to {} channels, work", multiplier, kMostChannels));
    }
  }
  for (const double deviation : sizes.deviation) {
    if (!(deviation > 0) || !std::isfinite(deviation)) {
      Reject(config, ErrorKind::kFormat, fmt::format("latents_std has {}; every number must be above 0", deviation));
    }
  }
}

WanVaeConfig ReadConfig(const Config& config) {
  WanVaeConfig sizes;
  sizes.base = config.Int("base_dim", sizes.base, 1, kMostChannels);
  sizes.decoder_base = config.Int("decoder_base_dim", sizes.base, 1, kMostChannels);
  sizes.latent_channels = config.Int("z_dim", sizes.latent_channels, 1, kMostChannels);
  sizes.multipliers = config.Ints("dim_mult", sizes.multipliers);
  sizes.blocks = config.Int("num_res_blocks", sizes.blocks, 1, 64);
  sizes.temporal = ReadTemporal(config, sizes);
  sizes.is_residual = config.Bool("is_residual", false);
  sizes.patch = config.Has("patch_size") ? config.Int("patch_size", 1, 1, 16) : 1;
  sizes.pixel_channels = 3 * sizes.patch * sizes.patch;
  for (const char* key : {"in_channels", "out_channels", "input_channels"}) {
    if (config.Int(key, sizes.pixel_channels) != sizes.pixel_channels) {
      Reject(config, ErrorKind::kUnsupported,
             fmt::format("{} {} is not supported; 3 colours of patches of {} give {}", key, config.Int(key, 0),
                         sizes.patch, sizes.pixel_channels));
    }
  }
  if (config.Has("attn_scales") && !config.json()["attn_scales"].empty()) {
    Reject(config, ErrorKind::kUnsupported, "attn_scales is not supported; it must be empty");
  }
  sizes.mean = ReadNumbers(config, "latents_mean", sizes, 0.0);
  sizes.deviation = ReadNumbers(config, "latents_std", sizes, 1.0);
  CheckSizes(config, sizes);
  return sizes;
}

// Builds both directions.
class WanVaeBuilder {
 public:
  WanVaeBuilder(const WanVaeConfig& config, WeightMap* weights, DType compute)
      : config_(config), builder_{weights, compute, kComponent} {}

  FilmLayers Encoder() {
    FilmLayers layers;
    int64_t width = config_.base;
    const std::string prefix = "encoder.";
    layers.push_back(FilmConvolution(builder_, prefix + "conv_in", {config_.pixel_channels, width}));
    int64_t index = 0;
    for (size_t level = 0; level < config_.levels(); ++level) {
      const int64_t next = config_.base * config_.multipliers[level];
      if (config_.is_residual) {
        layers.push_back(DownLevel(fmt::format("{}down_blocks.{}.", prefix, level), level, width, next));
      } else {
        FlatDownLevel(layers, level, width, next, index);
      }
      width = next;
    }
    Middle(layers, prefix, width);
    const int64_t moments = 2 * config_.latent_channels;
    layers.push_back(FilmHead(builder_, prefix + "norm_out", prefix + "conv_out", {width, moments}));
    layers.push_back(FilmConvolution(builder_, "quant_conv", {moments, moments, 1, 1}));
    return layers;
  }

  FilmLayers Decoder() {
    FilmLayers layers;
    const std::string prefix = "decoder.";
    int64_t width = config_.decoder_base * config_.multipliers.back();
    layers.push_back(
        FilmConvolution(builder_, "post_quant_conv", {config_.latent_channels, config_.latent_channels, 1, 1}));
    layers.push_back(FilmConvolution(builder_, prefix + "conv_in", {config_.latent_channels, width}));
    Middle(layers, prefix, width);
    for (size_t block = 0; block < config_.levels(); ++block) {
      const int64_t next = config_.decoder_base * config_.multipliers[config_.levels() - 1 - block];
      UpLevel(layers, block, width, next);
      const bool halves = !config_.is_residual && block + 1 < config_.levels();
      width = halves ? next / 2 : next;
    }
    layers.push_back(FilmHead(builder_, prefix + "norm_out", prefix + "conv_out", {width, config_.pixel_channels}));
    return layers;
  }

 private:
  void Middle(FilmLayers& layers, const std::string& prefix, int64_t width) {
    layers.push_back(FilmResidual(builder_, prefix + "mid_block.resnets.0.", width, width));
    layers.push_back(FilmAttention(builder_, prefix + "mid_block.attentions.0.", width));
    layers.push_back(FilmResidual(builder_, prefix + "mid_block.resnets.1.", width, width));
  }

  // Wan 2.1's encoder numbers all layers of all levels in one list.
  void FlatDownLevel(FilmLayers& layers, size_t level, int64_t width, int64_t next, int64_t& index) {
    for (int64_t i = 0; i < config_.blocks; ++i) {
      layers.push_back(
          FilmResidual(builder_, fmt::format("encoder.down_blocks.{}.", index++), i == 0 ? width : next, next));
    }
    if (level + 1 < config_.levels()) {
      Shrink(layers, fmt::format("encoder.down_blocks.{}.", index++), level, next);
    }
  }

  void Shrink(FilmLayers& layers, const std::string& prefix, size_t level, int64_t width) {
    layers.push_back(FilmDownsample(builder_, prefix + "resample.1", width));
    if (config_.temporal[level]) layers.push_back(FilmFaster(builder_, prefix + "time_conv", width));
  }

  std::unique_ptr<FilmLayer> DownLevel(const std::string& prefix, size_t level, int64_t width, int64_t next) {
    FilmLayers inner;
    for (int64_t i = 0; i < config_.blocks; ++i) {
      inner.push_back(FilmResidual(builder_, fmt::format("{}resnets.{}.", prefix, i), i == 0 ? width : next, next));
    }
    const bool shrinks = level + 1 < config_.levels();
    if (shrinks) Shrink(inner, prefix + "downsampler.", level, next);
    const bool is_faster = shrinks && config_.temporal[level];
    return FilmAveraged(builder_, std::move(inner), {width, next, is_faster ? 2 : 1, shrinks ? 2 : 1});
  }

  void UpLevel(FilmLayers& layers, size_t block, int64_t width, int64_t next) {
    const std::string prefix = fmt::format("decoder.up_blocks.{}.", block);
    FilmLayers inner;
    FilmLayers& to = config_.is_residual ? inner : layers;
    for (int64_t i = 0; i <= config_.blocks; ++i) {
      to.push_back(FilmResidual(builder_, fmt::format("{}resnets.{}.", prefix, i), i == 0 ? width : next, next));
    }
    const bool grows = block + 1 < config_.levels();
    const bool is_slower = grows && config_.temporal[config_.levels() - 2 - block];
    if (grows) {
      const std::string up = prefix + (config_.is_residual ? "upsampler." : "upsamplers.0.");
      if (is_slower) to.push_back(FilmSlower(builder_, up + "time_conv", next));
      to.push_back(FilmUpsample(builder_, up + "resample.1", next, config_.is_residual ? next : next / 2));
    }
    if (!config_.is_residual) return;
    if (grows) {
      layers.push_back(FilmRepeated(std::move(inner), {width, next, is_slower ? 2 : 1, 2}));
    } else {
      std::move(inner.begin(), inner.end(), std::back_inserter(layers));
    }
  }

  const WanVaeConfig& config_;
  FilmBuilder builder_;
};

// `weights` null: for measuring only.
FilmNetwork NetworkFor(const WanVaeConfig& config, WeightMap* weights, const AutoencoderJob& job) {
  WanVaeBuilder builder(config, weights, job.compute);
  return {job.direction == Direction::kEncode ? builder.Encoder() : builder.Decoder(), job.compute, kComponent};
}

// Pixels of a patch lie in the channels in the order (colour, column, row).
class Patches {
 public:
  explicit Patches(int64_t side) noexcept : side_(side) {}

  // [height, width, 3] to [1, height / side, width / side, 3 * side * side].
  void Fold(const Tensor& frame, Tensor& folded) const noexcept {
    const float* from = frame.data<float>();
    float* to = folded.mutable_data<float>();
    ForPixels(folded, [&](int64_t pixel, int64_t value) { to[value] = from[pixel]; });
  }
  void Unfold(const Tensor& folded, Tensor& frame) const noexcept {
    const float* from = folded.data<float>();
    float* to = frame.mutable_data<float>();
    ForPixels(folded, [&](int64_t pixel, int64_t value) { to[pixel] = std::clamp(from[value], -1.0f, 1.0f); });
  }

 private:
  template <class Body>
  void ForPixels(const Tensor& folded, const Body& body) const noexcept {
    const int64_t rows = folded.dim(1) * side_, columns = folded.dim(2) * side_, channels = folded.dim(3);
    for (int64_t y = 0; y < rows; ++y) {
      for (int64_t x = 0; x < columns; ++x) {
        for (int64_t c = 0; c < 3; ++c) {
          const int64_t channel = (c * side_ + x % side_) * side_ + y % side_;
          body((y * columns + x) * 3 + c, (y / side_ * folded.dim(2) + x / side_) * channels + channel);
        }
      }
    }
  }
  int64_t side_;
};

class WanAutoencoder final : public Autoencoder {
 public:
  WanAutoencoder(const WanVaeConfig& config, WeightMap& weights, const AutoencoderJob& job)
      : config_(config), job_(job), network_(NetworkFor(config, &weights, job)) {}

  Tensor Encode(std::span<const Tensor> frames, ForwardContext& context) const override {
    TESSERA_CHECK(job_.direction == Direction::kEncode && !frames.empty());
    const int64_t side = config_.patch, factor = config_.spatial_factor(), count = static_cast<int64_t>(frames.size());
    const int64_t rows = frames[0].dim(0) / factor, columns = frames[0].dim(1) / factor;
    Tensor latents = Tensor::Zeros(
        {config_.latent_channels, (count - 1) / config_.temporal_factor() + 1, rows, columns}, DType::kF32);
    const Shape folded{1, frames[0].dim(0) / side, frames[0].dim(1) / side, config_.pixel_channels};
    FilmState state = network_.Begin(folded);
    int64_t done = 0;
    int64_t* const at = &done;
    for (const Tensor& frame : frames) {
      TESSERA_CHECK(frame.shape() == frames[0].shape());
      const TraceScope trace(context.workspace.trace(), BlockLabel("frame", &frame - frames.data()));
      Workspace::Scope scope(context.workspace);
      Tensor input = context.workspace.Take(folded, DType::kF32);
      Patches(side).Fold(frame, input);
      network_.Push(state, input, context, [&, at](Tensor& moments) { StoreMean(moments, (*at)++, latents); });
    }
    return latents;
  }

  void Decode(const Tensor& latents, ForwardContext& context, const TakeFrame& take) const override {
    TESSERA_CHECK(job_.direction == Direction::kDecode && latents.rank() == 4);
    const Shape shape{1, latents.dim(2), latents.dim(3), config_.latent_channels};
    FilmState state = network_.Begin(shape);
    // The network must not see exceptions: frames of one latent frame are handed over after it.
    std::vector<Tensor> ready;
    for (int64_t t = 0; t < latents.dim(1); ++t) {
      ready.clear();
      {
        const TraceScope trace(context.workspace.trace(), BlockLabel("latent frame", t));
        Workspace::Scope scope(context.workspace);
        Tensor input = context.workspace.Take(shape, DType::kF32);
        LoadLatents(latents, t, input);
        std::vector<Tensor>* const to = &ready;
        network_.Push(state, input, context, [this, to](Tensor& folded) { to->push_back(Unfolded(folded)); });
      }
      for (const Tensor& frame : ready) take(frame);
    }
  }

 private:
  Tensor Unfolded(const Tensor& folded) const {
    Tensor frame = Tensor::Empty({folded.dim(1) * config_.patch, folded.dim(2) * config_.patch, 3}, DType::kF32);
    Patches(config_.patch).Unfold(folded, frame);
    return frame;
  }

  // The first channels are the mean.
  static void StoreMean(const Tensor& moments, int64_t t, Tensor& latents) noexcept {
    const int64_t plane = latents.dim(2) * latents.dim(3), width = moments.dim(3);
    for (int64_t c = 0; c < latents.dim(0); ++c) {
      float* to = latents.mutable_data<float>() + (c * latents.dim(1) + t) * plane;
      for (int64_t i = 0; i < plane; ++i) to[i] = moments.data<float>()[i * width + c];
    }
  }
  static void LoadLatents(const Tensor& latents, int64_t t, Tensor& frame) noexcept {
    const int64_t plane = latents.dim(2) * latents.dim(3), channels = latents.dim(0);
    float* to = frame.mutable_data<float>();
    for (int64_t c = 0; c < channels; ++c) {
      const float* from = latents.data<float>() + (c * latents.dim(1) + t) * plane;
      for (int64_t i = 0; i < plane; ++i) to[i * channels + c] = from[i];
    }
  }

  WanVaeConfig config_;
  AutoencoderJob job_;
  FilmNetwork network_;
};

class WanVaeSpec final : public AutoencoderSpec {
 public:
  explicit WanVaeSpec(const WanVaeConfig& config) : config_(config) {}
  int64_t latent_channels() const override { return config_.latent_channels; }
  int64_t spatial_factor() const override { return config_.spatial_factor(); }
  int64_t temporal_factor() const override { return config_.temporal_factor(); }
  int64_t TileFor(int64_t, int64_t) const override { return 0; }
  bool TakesTiles() const override { return false; }

  std::vector<SiteProblem> Sites(const AutoencoderJob& job) const override {
    CheckJob(job);
    return NetworkFor(config_, nullptr, job).Sites(EntryShape(job));
  }

  Cost CostOf(const AutoencoderJob& job) const override {
    CheckJob(job);
    const FilmCost film = NetworkFor(config_, nullptr, job).Measure(EntryShape(job), EntryFrames(job));
    Cost cost;
    cost.convolution_flops = film.flops;
    cost.workspace_bytes = film.workspace_bytes;
    cost.state_bytes = film.state_bytes;
    return cost;
  }

  std::unique_ptr<Autoencoder> Load(WeightMap weights, const AutoencoderJob& job) const override {
    CheckJob(job);
    auto autoencoder = std::make_unique<WanAutoencoder>(config_, weights, job);
    const bool encodes = job.direction == Direction::kEncode;
    for (const char* pattern : {encodes ? "decoder.*" : "encoder.*", encodes ? "post_quant_conv.*" : "quant_conv.*"}) {
      weights.Ignore(pattern);
    }
    weights.Finish();
    return autoencoder;
  }

  LatentStatistics Statistics(WeightMap) const override {
    LatentStatistics statistics{Tensor::Empty({config_.latent_channels}, DType::kF32),
                                Tensor::Empty({config_.latent_channels}, DType::kF32)};
    for (size_t i = 0; i < config_.mean.size(); ++i) {
      statistics.mean.mutable_data<float>()[i] = static_cast<float>(config_.mean[i]);
      statistics.deviation.mutable_data<float>()[i] = static_cast<float>(config_.deviation[i]);
    }
    return statistics;
  }

 private:
  void CheckJob(const AutoencoderJob& job) const {
    const int64_t factor = config_.spatial_factor();
    if (job.compute != DType::kF32 && job.compute != DType::kBF16) {
      throw Error(ErrorKind::kUnsupported, fmt::format("vae in {}: activations can be f32 or bf16", Name(job.compute)));
    }
    if (job.tile != 0) {
      throw Error(ErrorKind::kUnsupported, "this vae works frame by frame and takes no tiles (--vae-tiling)");
    }
    if (job.height < factor || job.width < factor || job.height % factor != 0 || job.width % factor != 0) {
      throw Error(ErrorKind::kUsage, fmt::format("frames of {}x{} pixels: the vae needs sides that are multiples of {}",
                                                 job.width, job.height, factor));
    }
    if (job.frames < 1 || job.frames > kMostFrames || (job.frames - 1) % config_.temporal_factor() != 0) {
      throw Error(ErrorKind::kUsage, fmt::format("{} frames: the vae needs 1 more than a multiple of {}", job.frames,
                                                 config_.temporal_factor()));
    }
  }

  Shape EntryShape(const AutoencoderJob& job) const {
    if (job.direction == Direction::kEncode) {
      return {1, job.height / config_.patch, job.width / config_.patch, config_.pixel_channels};
    }
    const int64_t factor = config_.spatial_factor();
    return {1, job.height / factor, job.width / factor, config_.latent_channels};
  }
  double EntryFrames(const AutoencoderJob& job) const {
    if (job.direction == Direction::kEncode) return static_cast<double>(job.frames);
    return static_cast<double>((job.frames - 1) / config_.temporal_factor() + 1);
  }

  WanVaeConfig config_;
};

std::unique_ptr<AutoencoderSpec> Parse(const Config& config) {
  return std::make_unique<WanVaeSpec>(ReadConfig(config));
}

}  // namespace

extern const AutoencoderArchitecture wan_autoencoder;
constinit const AutoencoderArchitecture wan_autoencoder = {"AutoencoderKLWan", Parse};

}  // namespace tessera
