#include "cli/random_model/parts/wan_autoencoder.h"

#include <array>
#include <span>
#include <string>

#include "base/check.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kRgb = 3, kTemporalFactor = 4;
constexpr std::array<int64_t, 4> kMultipliers = {1, 2, 4, 4};
constexpr std::array<bool, 3> kTemporal = {false, true, true};  // levels that halve the frames
constexpr int64_t kLevels = kMultipliers.size();

// Per latent channel, of the published autoencoders.
struct LatentStatistics {
  std::span<const double> mean, deviation;
};
constexpr double kMean16[] = {-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,  -0.1517, 1.5508,
                              0.4134,  -0.0715, 0.5517,  -0.3632, -0.1922, -0.9497, 0.2503,  -0.2921};
constexpr double kDeviation16[] = {2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                                   3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.916};
constexpr double kMean48[] = {-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174,  0.1838,  0.1557,  -0.1382, 0.0542,
                              0.2813,  0.0891,  0.157,   -0.0098, 0.0375,  -0.1825, -0.2246, -0.1207, -0.0698, 0.5109,
                              0.2665,  -0.2108, -0.2158, 0.2502,  -0.2055, -0.0322, 0.1109,  0.1567,  -0.0729, 0.0899,
                              -0.2799, -0.123,  -0.0313, -0.1649, 0.0117,  0.0723,  -0.2839, -0.2083, -0.052,  0.3748,
                              0.0152,  0.1957,  0.1433,  -0.2944, 0.3573,  -0.0548, -0.1681, -0.0667};
constexpr double kDeviation48[] = {0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.499,  0.4818, 0.5013, 0.8158, 1.0344,
                                   0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804,
                                   0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999,
                                   0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
                                   0.3971, 1.06,   0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744};

LatentStatistics StatisticsOf(const WanAutoencoderSize& size) {
  if (size.latent_channels == 16) return {kMean16, kDeviation16};
  TESSERA_CHECK(size.latent_channels == 48);
  return {kMean48, kDeviation48};
}

bool HalvesFrames(int64_t level) { return kTemporal[static_cast<size_t>(level)]; }
int64_t Multiplier(int64_t level) { return kMultipliers[static_cast<size_t>(level)]; }
int64_t PixelChannels(const WanAutoencoderSize& size) { return kRgb * size.patch * size.patch; }

void AddNorm(const std::string& name, int64_t width, TensorList* list) {
  list->Add(name + ".gamma", {width, 1, 1, 1}, TensorKind::kScale);
}

void AddResnet(const std::string& name, int64_t inputs, int64_t outputs, TensorList* list) {
  AddNorm(name + ".norm1", inputs, list);
  list->Convolution(name + ".conv1", {outputs, inputs, 3, 3, 3});
  AddNorm(name + ".norm2", outputs, list);
  list->Convolution(name + ".conv2", {outputs, outputs, 3, 3, 3});
  if (inputs != outputs) list->Convolution(name + ".conv_shortcut", {outputs, inputs, 1, 1, 1});
}

void AddMiddle(const std::string& side, int64_t width, TensorList* list) {
  const std::string attention = side + ".mid_block.attentions.0";
  list->Add(attention + ".norm.gamma", {width, 1, 1}, TensorKind::kScale);
  list->Convolution(attention + ".to_qkv", {3 * width, width, 1, 1});
  list->Convolution(attention + ".proj", {width, width, 1, 1});
  for (int64_t i = 0; i < 2; ++i) AddResnet(Numbered(side + ".mid_block.resnets", i), width, width, list);
}

void AddHead(const std::string& side, int64_t outputs, int64_t inputs, TensorList* list) {
  AddNorm(side + ".norm_out", inputs, list);
  list->Convolution(side + ".conv_out", {outputs, inputs, 3, 3, 3});
}

void AddDownsampler(const std::string& name, int64_t level, int64_t width, TensorList* list) {
  list->Convolution(name + ".resample.1", {width, width, 3, 3});
  if (HalvesFrames(level)) list->Convolution(name + ".time_conv", {width, width, 3, 1, 1});
}

// Wan 2.2 names the layers of a level; Wan 2.1 numbers all layers of all levels in one list.
class EncoderNames {
 public:
  explicit EncoderNames(const WanAutoencoderSize& size) : is_residual_(size.is_residual) {}
  std::string Resnet(int64_t level, int64_t index) {
    return is_residual_ ? Numbered(Numbered(kBlocks, level) + ".resnets", index) : Numbered(kBlocks, layer_++);
  }
  std::string Downsampler(int64_t level) {
    return is_residual_ ? Numbered(kBlocks, level) + ".downsampler" : Numbered(kBlocks, layer_++);
  }

 private:
  static constexpr const char* kBlocks = "encoder.down_blocks";

  bool is_residual_;
  int64_t layer_ = 0;
};

void AddEncoder(const WanAutoencoderSize& size, TensorList* list) {
  EncoderNames names(size);
  int64_t inputs = size.base;
  list->Convolution("encoder.conv_in", {inputs, PixelChannels(size), 3, 3, 3});
  for (int64_t level = 0; level < kLevels; ++level) {
    const int64_t outputs = size.base * Multiplier(level);
    for (int64_t i = 0; i < size.resnets; ++i) {
      AddResnet(names.Resnet(level, i), inputs, outputs, list);
      inputs = outputs;
    }
    if (level + 1 < kLevels) AddDownsampler(names.Downsampler(level), level, outputs, list);
  }
  AddMiddle("encoder", inputs, list);
  AddHead("encoder", 2 * size.latent_channels, inputs, list);
}

// Wan 2.1's halves the channels.
int64_t AddUpsampler(const std::string& block, const WanAutoencoderSize& size, int64_t level, TensorList* list) {
  const int64_t inputs = size.decoder_base * Multiplier(level);
  const int64_t outputs = size.is_residual ? inputs : inputs / 2;
  const std::string name = block + (size.is_residual ? ".upsampler" : ".upsamplers.0");
  list->Convolution(name + ".resample.1", {outputs, inputs, 3, 3});
  if (HalvesFrames(level - 1)) list->Convolution(name + ".time_conv", {2 * inputs, inputs, 3, 1, 1});
  return outputs;
}

void AddDecoder(const WanAutoencoderSize& size, TensorList* list) {
  int64_t inputs = size.decoder_base * Multiplier(kLevels - 1);
  list->Convolution("decoder.conv_in", {inputs, size.latent_channels, 3, 3, 3});
  AddMiddle("decoder", inputs, list);
  for (int64_t level = kLevels - 1; level >= 0; --level) {
    const std::string block = Numbered("decoder.up_blocks", kLevels - 1 - level);
    const int64_t outputs = size.decoder_base * Multiplier(level);
    for (int64_t i = 0; i <= size.resnets; ++i) {
      AddResnet(Numbered(block + ".resnets", i), inputs, outputs, list);
      inputs = outputs;
    }
    if (level > 0) inputs = AddUpsampler(block, size, level, list);
  }
  AddHead("decoder", PixelChannels(size), inputs, list);
}

std::vector<TensorSpec> Tensors(const WanAutoencoderSize& size) {
  TensorList list;
  AddEncoder(size, &list);
  list.Convolution("quant_conv", {2 * size.latent_channels, 2 * size.latent_channels, 1, 1, 1});
  list.Convolution("post_quant_conv", {size.latent_channels, size.latent_channels, 1, 1, 1});
  AddDecoder(size, &list);
  return list.Take();
}

Json Configuration(const WanAutoencoderSize& size) {
  const LatentStatistics statistics = StatisticsOf(size);
  const auto or_null = [](bool is_there, int64_t value) { return is_there ? Json(value) : Json(nullptr); };
  return {{"_class_name", "AutoencoderKLWan"},
          {"_diffusers_version", kDiffusersVersion},
          {"attn_scales", Json::array()},
          {"base_dim", size.base},
          {"decoder_base_dim", or_null(size.decoder_base != size.base, size.decoder_base)},
          {"dim_mult", kMultipliers},
          {"dropout", 0.0},
          {"in_channels", PixelChannels(size)},
          {"is_residual", size.is_residual},
          {"latents_mean", statistics.mean},
          {"latents_std", statistics.deviation},
          {"num_res_blocks", size.resnets},
          {"out_channels", PixelChannels(size)},
          {"patch_size", or_null(size.patch > 1, size.patch)},
          {"scale_factor_spatial", size.patch << (kLevels - 1)},
          {"scale_factor_temporal", kTemporalFactor},
          {"temperal_downsample", kTemporal},
          {"z_dim", size.latent_channels}};
}

}  // namespace

void AddWanAutoencoder(const WanAutoencoderSize& size, ModelContents* contents) {
  contents->components.push_back({"vae", "diffusion_pytorch_model", DType::kF32, Tensors(size)});
  contents->files.push_back(JsonFile("vae/config.json", Configuration(size)));
}

}  // namespace tessera
