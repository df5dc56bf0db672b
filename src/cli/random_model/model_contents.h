// What a model's folder holds: weights, as names and shapes, and small files.
#pragma once
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/random_model/tensor_list.h"
#include "tensor/dtype.h"

namespace tessera {

struct ModelFile {
  std::string path;  // relative to the model's folder
  std::string text;
};

// The weights of one folder.
struct ModelComponent {
  std::string folder, stem;  // "text_encoder", "model": of text_encoder/model.safetensors
  DType dtype;               // of all tensors but counters
  std::vector<TensorSpec> tensors;
};

struct ModelContents {
  std::vector<ModelComponent> components;
  std::vector<ModelFile> files;  // configurations, tokenizers
  ModelFile index;               // model_index.json, which makes the folder a model
};

// Versions of the libraries whose folders are written.
inline constexpr const char* kDiffusersVersion = "0.37.0";
inline constexpr const char* kTransformersVersion = "4.56.1";

ModelFile JsonFile(std::string path, const nlohmann::ordered_json& json);
std::string TorchName(DType dtype);  // "bfloat16"

}  // namespace tessera
