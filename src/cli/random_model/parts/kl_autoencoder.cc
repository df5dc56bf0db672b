#include "cli/random_model/parts/kl_autoencoder.h"

#include <string>

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kPatch = 2, kRgb = 3;

void AddResnet(const std::string& name, int64_t inputs, int64_t outputs, TensorList* list) {
  list->Affine(name + ".norm1", inputs);
  list->Convolution(name + ".conv1", {outputs, inputs, 3, 3});
  list->Affine(name + ".norm2", outputs);
  list->Convolution(name + ".conv2", {outputs, outputs, 3, 3});
  if (inputs != outputs) list->Convolution(name + ".conv_shortcut", {outputs, inputs, 1, 1});
}

void AddMiddle(const std::string& side, int64_t width, TensorList* list) {
  const std::string attention = side + ".mid_block.attentions.0";
  list->Affine(attention + ".group_norm", width);
  for (const char* name : {".to_q", ".to_k", ".to_v", ".to_out.0"}) list->Linear(attention + name, width, width);
  for (int64_t i = 0; i < 2; ++i) AddResnet(Numbered(side + ".mid_block.resnets", i), width, width, list);
}

void AddEncoder(const KlAutoencoderSize& size, TensorList* list) {
  int64_t inputs = size.channels.front();
  list->Convolution("encoder.conv_in", {inputs, kRgb, 3, 3});
  for (size_t level = 0; level < size.channels.size(); ++level) {
    const std::string block = "encoder.down_blocks." + std::to_string(level);
    for (int64_t i = 0; i < size.resnets; ++i) {
      AddResnet(Numbered(block + ".resnets", i), inputs, size.channels[level], list);
      inputs = size.channels[level];
    }
    if (level + 1 < size.channels.size()) list->Convolution(block + ".downsamplers.0.conv", {inputs, inputs, 3, 3});
  }
  AddMiddle("encoder", inputs, list);
  list->Affine("encoder.conv_norm_out", inputs);
  list->Convolution("encoder.conv_out", {2 * size.latent_channels, inputs, 3, 3});
}

void AddDecoder(const KlAutoencoderSize& size, TensorList* list) {
  int64_t inputs = size.channels.back();
  list->Convolution("decoder.conv_in", {inputs, size.latent_channels, 3, 3});
  AddMiddle("decoder", inputs, list);
  const size_t levels = size.channels.size();
  for (size_t level = 0; level < levels; ++level) {
    const int64_t outputs = size.channels[levels - 1 - level];
    const std::string block = "decoder.up_blocks." + std::to_string(level);
    for (int64_t i = 0; i < size.resnets + 1; ++i) {
      AddResnet(Numbered(block + ".resnets", i), inputs, outputs, list);
      inputs = outputs;
    }
    if (level + 1 < levels) list->Convolution(block + ".upsamplers.0.conv", {outputs, outputs, 3, 3});
  }
  list->Affine("decoder.conv_norm_out", inputs);
  list->Convolution("decoder.conv_out", {kRgb, inputs, 3, 3});
}

std::vector<TensorSpec> Tensors(const KlAutoencoderSize& size) {
  TensorList list;
  AddEncoder(size, &list);
  AddDecoder(size, &list);
  list.Convolution("quant_conv", {2 * size.latent_channels, 2 * size.latent_channels, 1, 1});
  list.Convolution("post_quant_conv", {size.latent_channels, size.latent_channels, 1, 1});
  const int64_t channels = size.latent_channels * kPatch * kPatch;
  list.Add("bn.running_mean", {channels}, TensorKind::kOffset);
  list.Add("bn.running_var", {channels}, TensorKind::kScale);
  list.Add("bn.num_batches_tracked", {}, TensorKind::kCounter);
  return list.Take();
}

Json Configuration(const KlAutoencoderSize& size) {
  const Json down =
      Json::array({"DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"});
  const Json up = Json::array({"UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"});
  return {{"_class_name", "AutoencoderKLFlux2"},
          {"_diffusers_version", kDiffusersVersion},
          {"act_fn", "silu"},
          {"batch_norm_eps", 1e-4},
          {"batch_norm_momentum", 0.1},
          {"block_out_channels", size.channels},
          {"down_block_types", down},
          {"force_upcast", true},
          {"in_channels", 3},
          {"latent_channels", size.latent_channels},
          {"layers_per_block", size.resnets},
          {"mid_block_add_attention", true},
          {"norm_num_groups", size.groups},
          {"out_channels", 3},
          {"patch_size", {2, 2}},
          {"sample_size", 1024},
          {"up_block_types", up},
          {"use_post_quant_conv", true},
          {"use_quant_conv", true}};
}

}  // namespace

void AddKlAutoencoder(const KlAutoencoderSize& size, DType dtype, ModelContents* contents) {
  contents->components.push_back({"vae", "diffusion_pytorch_model", dtype, Tensors(size)});
  contents->files.push_back(JsonFile("vae/config.json", Configuration(size)));
}

}  // namespace tessera
