// Which files of a component's folder hold its tensors.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tessera {

struct WeightFiles {
  std::vector<std::filesystem::path> files;
  std::filesystem::path index;                     // empty for a single file
  std::map<std::string, std::string> file_of_key;  // from the index: tensor -> file name
  std::string variant;                             // "fp16" of diffusion_pytorch_model.fp16.safetensors, else ""
};

// diffusion_pytorch_model or model, .safetensors or .safetensors.index.json with its shards; a variant
// (diffusion_pytorch_model.fp16.safetensors) when it is the only one. Throws Error{kIo, kFormat} naming what is
// missing, a shard that is not beside the index, or an index that is none.
WeightFiles FindWeightFiles(const std::filesystem::path& folder);

}  // namespace tessera
