// Models by name, and their tensors as tests compare them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/random_model/design.h"

namespace tessera::testing {

using Shapes = std::map<std::string, std::vector<int64_t>>;

ModelContents ContentsOf(const std::string& name, const LayerCounts& asked = {}, DType dtype = DType::kBF16);
const ModelComponent& ComponentOf(const ModelContents& contents, const std::string& folder);
Shapes ShapesOf(const ModelComponent& component);

std::string BytesOf(const std::filesystem::path& path);
nlohmann::json SafetensorsHeader(const std::filesystem::path& path);  // without "__metadata__"

}  // namespace tessera::testing
