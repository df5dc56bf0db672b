#include "cli/random_model/parts/clip_vision.h"

#include <string>

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kRgb = 3;

void AddLayer(const std::string& layer, const ClipVisionSize& size, TensorList* list) {
  for (const char* name : {".self_attn.k_proj", ".self_attn.v_proj", ".self_attn.q_proj", ".self_attn.out_proj"}) {
    list->Linear(layer + name, size.width, size.width);
  }
  list->Affine(layer + ".layer_norm1", size.width);
  list->Linear(layer + ".mlp.fc1", size.mlp, size.width);
  list->Linear(layer + ".mlp.fc2", size.width, size.mlp);
  list->Affine(layer + ".layer_norm2", size.width);
}

std::vector<TensorSpec> Tensors(const ClipVisionSize& size) {
  TensorList list;
  const std::string model = "vision_model.";
  const int64_t columns = size.image_side / size.patch_side;
  list.Add(model + "embeddings.class_embedding", {size.width}, TensorKind::kOffset);
  list.Weight(model + "embeddings.patch_embedding", {size.width, kRgb, size.patch_side, size.patch_side});
  list.Weight(model + "embeddings.position_embedding", {columns * columns + 1, size.width});
  list.Affine(model + "pre_layrnorm", size.width);
  for (int64_t i = 0; i < size.layers; ++i) AddLayer(Numbered(model + "encoder.layers", i), size, &list);
  list.Affine(model + "post_layernorm", size.width);
  return list.Take();
}

Json Configuration(const ClipVisionSize& size, DType dtype) {
  return {{"architectures", Json::array({"CLIPVisionModel"})},
          {"attention_dropout", 0.0},
          {"dropout", 0.0},
          {"hidden_act", "gelu"},
          {"hidden_size", size.width},
          {"image_size", size.image_side},
          {"initializer_factor", 1.0},
          {"initializer_range", 0.02},
          {"intermediate_size", size.mlp},
          {"layer_norm_eps", 1e-5},
          {"model_type", "clip_vision_model"},
          {"num_attention_heads", size.heads},
          {"num_channels", kRgb},
          {"num_hidden_layers", size.layers},
          {"patch_size", size.patch_side},
          {"projection_dim", 1024},
          {"torch_dtype", TorchName(dtype)},
          {"transformers_version", kTransformersVersion}};
}

Json Preprocessor(const ClipVisionSize& size) {
  return {{"crop_size", {{"height", size.image_side}, {"width", size.image_side}}},
          {"do_center_crop", true},
          {"do_convert_rgb", true},
          {"do_normalize", true},
          {"do_rescale", true},
          {"do_resize", true},
          {"image_mean", {0.48145466, 0.4578275, 0.40821073}},
          {"image_processor_type", "CLIPImageProcessor"},
          {"image_std", {0.26862954, 0.26130258, 0.27577711}},
          {"resample", 3},
          {"rescale_factor", 1.0 / 255.0},
          {"size", {{"shortest_edge", size.image_side}}}};
}

}  // namespace

void AddClipVision(const ClipVisionSize& size, DType dtype, ModelContents* contents) {
  contents->components.push_back({"image_encoder", "model", dtype, Tensors(size)});
  contents->files.push_back(JsonFile("image_encoder/config.json", Configuration(size, dtype)));
  contents->files.push_back(JsonFile("image_processor/preprocessor_config.json", Preprocessor(size)));
}

}  // namespace tessera
