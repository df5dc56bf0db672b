#include "random_model/model_shapes.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace tessera::testing {

ModelContents ContentsOf(const std::string& name, const LayerCounts& asked, DType dtype) {
  const RandomDesign design = FindRandomDesign(name);
  return design.contents(ChooseLayers(design, asked), dtype);
}

const ModelComponent& ComponentOf(const ModelContents& contents, const std::string& folder) {
  for (const ModelComponent& component : contents.components) {
    if (component.folder == folder) return component;
  }
  throw std::logic_error("no folder " + folder);
}

Shapes ShapesOf(const ModelComponent& component) {
  Shapes shapes;
  for (const TensorSpec& spec : component.tensors) {
    const auto sizes = spec.shape.sizes();
    shapes[spec.name] = {sizes.begin(), sizes.end()};
  }
  return shapes;
}

std::string BytesOf(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

nlohmann::json SafetensorsHeader(const std::filesystem::path& path) {
  const std::string file = BytesOf(path);
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  nlohmann::json header = nlohmann::json::parse(file.substr(8, length));
  header.erase("__metadata__");
  return header;
}

}  // namespace tessera::testing
