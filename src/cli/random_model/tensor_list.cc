#include "cli/random_model/tensor_list.h"

#include <iterator>

namespace tessera {
namespace {

constexpr int64_t kTimestepChannels = 256, kMlpRatio = 3, kPatch = 2, kRgb = 3;

// Collects tensors under a prefix.
class TensorList {
 public:
  void Weight(const std::string& name, const Shape& shape) { tensors_.push_back({name + ".weight", shape}); }
  void Scale(const std::string& name, int64_t size) {
    tensors_.push_back({name + ".weight", {size}, TensorKind::kScale});
  }
  void Affine(const std::string& name, int64_t size) {  // GroupNorm
    Scale(name, size);
    Bias(name, size);
  }
  void Linear(const std::string& name, int64_t outputs, int64_t inputs) {  // with bias
    Weight(name, {outputs, inputs});
    Bias(name, outputs);
  }
  void Convolution(const std::string& name, int64_t outputs, int64_t inputs, int64_t side) {
    Weight(name, {outputs, inputs, side, side});
    Bias(name, outputs);
  }
  void Add(std::string name, const Shape& shape, TensorKind kind) {
    tensors_.push_back({std::move(name), shape, kind});
  }
  std::vector<TensorSpec> Take() { return std::move(tensors_); }

 private:
  void Bias(const std::string& name, int64_t size) {
    tensors_.push_back({name + ".bias", {size}, TensorKind::kOffset});
  }
  std::vector<TensorSpec> tensors_;
};

std::string Numbered(const std::string& name, int64_t index) { return name + "." + std::to_string(index); }

void AddFeedForward(const std::string& name, int64_t width, TensorList* list) {  // gated: two halves come in
  list->Weight(name + ".linear_in", {2 * kMlpRatio * width, width});
  list->Weight(name + ".linear_out", {width, kMlpRatio * width});
}

void AddDoubleBlock(const std::string& block, const KleinSize& size, TensorList* list) {
  const int64_t width = size.width();
  const std::string attention = block + ".attn.";
  for (const char* name :
       {"to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"}) {
    list->Weight(attention + name, {width, width});
  }
  for (const char* name : {"norm_q", "norm_k", "norm_added_q", "norm_added_k"}) {
    list->Scale(attention + name, size.head_dim);
  }
  AddFeedForward(block + ".ff", width, list);
  AddFeedForward(block + ".ff_context", width, list);
}

void AddSingleBlock(const std::string& block, const KleinSize& size, TensorList* list) {
  const int64_t width = size.width();
  list->Weight(block + ".attn.to_qkv_mlp_proj", {(3 + 2 * kMlpRatio) * width, width});
  list->Weight(block + ".attn.to_out", {width, (1 + kMlpRatio) * width});
  list->Scale(block + ".attn.norm_q", size.head_dim);
  list->Scale(block + ".attn.norm_k", size.head_dim);
}

void AddTextLayer(const std::string& layer, const KleinSize& size, TensorList* list) {
  const int64_t width = size.text_width;
  const int64_t queries = size.text_heads * size.text_head_dim, keys = size.text_kv_heads * size.text_head_dim;
  list->Scale(layer + ".input_layernorm", width);
  list->Weight(layer + ".self_attn.q_proj", {queries, width});
  list->Weight(layer + ".self_attn.k_proj", {keys, width});
  list->Weight(layer + ".self_attn.v_proj", {keys, width});
  list->Weight(layer + ".self_attn.o_proj", {width, queries});
  list->Scale(layer + ".self_attn.q_norm", size.text_head_dim);
  list->Scale(layer + ".self_attn.k_norm", size.text_head_dim);
  list->Scale(layer + ".post_attention_layernorm", width);
  list->Weight(layer + ".mlp.gate_proj", {size.text_mlp, width});
  list->Weight(layer + ".mlp.up_proj", {size.text_mlp, width});
  list->Weight(layer + ".mlp.down_proj", {width, size.text_mlp});
}

void AddResnet(const std::string& name, int64_t inputs, int64_t outputs, TensorList* list) {
  list->Affine(name + ".norm1", inputs);
  list->Convolution(name + ".conv1", outputs, inputs, 3);
  list->Affine(name + ".norm2", outputs);
  list->Convolution(name + ".conv2", outputs, outputs, 3);
  if (inputs != outputs) list->Convolution(name + ".conv_shortcut", outputs, inputs, 1);
}

void AddMiddle(const std::string& side, int64_t width, TensorList* list) {
  const std::string attention = side + ".mid_block.attentions.0";
  list->Affine(attention + ".group_norm", width);
  for (const char* name : {".to_q", ".to_k", ".to_v", ".to_out.0"}) list->Linear(attention + name, width, width);
  for (int64_t i = 0; i < 2; ++i) AddResnet(Numbered(side + ".mid_block.resnets", i), width, width, list);
}

void AddEncoder(const KleinSize& size, TensorList* list) {
  int64_t inputs = size.vae_channels.front();
  list->Convolution("encoder.conv_in", inputs, kRgb, 3);
  for (size_t level = 0; level < size.vae_channels.size(); ++level) {
    const std::string block = "encoder.down_blocks." + std::to_string(level);
    for (int64_t i = 0; i < size.vae_resnets; ++i) {
      AddResnet(Numbered(block + ".resnets", i), inputs, size.vae_channels[level], list);
      inputs = size.vae_channels[level];
    }
    if (level + 1 < size.vae_channels.size()) list->Convolution(block + ".downsamplers.0.conv", inputs, inputs, 3);
  }
  AddMiddle("encoder", inputs, list);
  list->Affine("encoder.conv_norm_out", inputs);
  list->Convolution("encoder.conv_out", 2 * size.latent_channels, inputs, 3);
}

void AddDecoder(const KleinSize& size, TensorList* list) {
  int64_t inputs = size.vae_channels.back();
  list->Convolution("decoder.conv_in", inputs, size.latent_channels, 3);
  AddMiddle("decoder", inputs, list);
  const size_t levels = size.vae_channels.size();
  for (size_t level = 0; level < levels; ++level) {
    const int64_t outputs = size.vae_channels[levels - 1 - level];
    const std::string block = "decoder.up_blocks." + std::to_string(level);
    for (int64_t i = 0; i < size.vae_resnets + 1; ++i) {
      AddResnet(Numbered(block + ".resnets", i), inputs, outputs, list);
      inputs = outputs;
    }
    if (level + 1 < levels) list->Convolution(block + ".upsamplers.0.conv", outputs, outputs, 3);
  }
  list->Affine("decoder.conv_norm_out", inputs);
  list->Convolution("decoder.conv_out", kRgb, inputs, 3);
}

}  // namespace

std::vector<TensorSpec> TransformerTensors(const KleinSize& size) {
  TensorList list;
  const int64_t width = size.width(), channels = size.latent_channels * kPatch * kPatch;
  list.Weight("time_guidance_embed.timestep_embedder.linear_1", {width, kTimestepChannels});
  list.Weight("time_guidance_embed.timestep_embedder.linear_2", {width, width});
  list.Weight("double_stream_modulation_img.linear", {6 * width, width});
  list.Weight("double_stream_modulation_txt.linear", {6 * width, width});
  list.Weight("single_stream_modulation.linear", {3 * width, width});
  list.Weight("x_embedder", {width, channels});
  list.Weight("context_embedder", {width, static_cast<int64_t>(size.text_taps.size()) * size.text_width});
  for (int64_t i = 0; i < size.double_blocks; ++i) AddDoubleBlock(Numbered("transformer_blocks", i), size, &list);
  for (int64_t i = 0; i < size.single_blocks; ++i)
    AddSingleBlock(Numbered("single_transformer_blocks", i), size, &list);
  list.Weight("norm_out.linear", {2 * width, width});
  list.Weight("proj_out", {channels, width});
  return list.Take();
}

std::vector<TensorSpec> TextEncoderTensors(const KleinSize& size) {
  TensorList list;
  list.Weight("model.embed_tokens", {size.vocabulary, size.text_width});
  for (int64_t i = 0; i < size.text_layers; ++i) AddTextLayer(Numbered("model.layers", i), size, &list);
  list.Scale("model.norm", size.text_width);
  if (!size.tied_embedding) list.Weight("lm_head", {size.vocabulary, size.text_width});
  return list.Take();
}

std::vector<TensorSpec> AutoencoderTensors(const KleinSize& size) {
  TensorList list;
  AddEncoder(size, &list);
  AddDecoder(size, &list);
  list.Convolution("quant_conv", 2 * size.latent_channels, 2 * size.latent_channels, 1);
  list.Convolution("post_quant_conv", size.latent_channels, size.latent_channels, 1);
  const int64_t channels = size.latent_channels * kPatch * kPatch;
  list.Add("bn.running_mean", {channels}, TensorKind::kOffset);
  list.Add("bn.running_var", {channels}, TensorKind::kScale);
  list.Add("bn.num_batches_tracked", {}, TensorKind::kCounter);
  return list.Take();
}

}  // namespace tessera
