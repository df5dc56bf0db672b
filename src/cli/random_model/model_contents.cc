#include "cli/random_model/model_contents.h"

#include <utility>

namespace tessera {

ModelFile JsonFile(std::string path, const nlohmann::ordered_json& json) {
  return {std::move(path), json.dump(2) + "\n"};
}

std::string TorchName(DType dtype) {
  return dtype == DType::kF32 ? "float32" : dtype == DType::kF16 ? "float16" : "bfloat16";
}

}  // namespace tessera
