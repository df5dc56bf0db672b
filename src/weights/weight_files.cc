#include "weights/weight_files.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include <fmt/format.h>

#include "base/config.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

// In the order in which diffusers and transformers look for them.
constexpr std::array<std::string_view, 4> kNames{"diffusion_pytorch_model.safetensors.index.json",
                                                 "diffusion_pytorch_model.safetensors", "model.safetensors",
                                                 "model.safetensors.index.json"};

std::string Text(const fs::path& path) { return Printable(path.string(), 400); }

std::vector<std::string> NamesIn(const fs::path& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error)
    throw Error(ErrorKind::kIo, fmt::format("cannot read the folder '{}': {}", Text(folder), Lower(error.message())));
  std::ranges::sort(names);
  return names;
}

// "fp16" of "model.fp16.safetensors" and of "model.safetensors.index.fp16.json"; "" for any other name.
std::string VariantOf(std::string_view name) {
  for (const std::string_view stem : {"diffusion_pytorch_model.", "model."}) {
    if (!name.starts_with(stem)) continue;
    std::string_view rest = name.substr(stem.size());
    constexpr std::string_view kSingle = ".safetensors", kIndex = "safetensors.index.", kJson = ".json";
    if (rest.starts_with(kIndex) && rest.ends_with(kJson) && rest.size() > kIndex.size() + kJson.size()) {
      rest = rest.substr(kIndex.size(), rest.size() - kIndex.size() - kJson.size());
    } else if (rest.ends_with(kSingle)) {
      rest.remove_suffix(kSingle.size());
    } else {
      continue;
    }
    if (!rest.empty() && rest.find_first_of(".-/") == std::string_view::npos) return std::string(rest);
  }
  return "";
}

[[noreturn]] void RefuseWithout(const fs::path& folder, const std::vector<std::string>& names) {
  const auto has = [&](std::string_view part) {
    return std::ranges::any_of(names, [&](const std::string& name) { return name.find(part) != std::string::npos; });
  };
  std::string reason =
      "neither diffusion_pytorch_model.safetensors nor model.safetensors, whole or in shards with an index";
  if (has("-of-")) {
    reason = "shards, but no .safetensors.index.json that lists them (an incomplete download?)";
  } else if (has(".bin") || has(".pt")) {
    reason = "weights in another format only; a checkpoint saved as .safetensors would work";
  } else if (has(".gguf")) {
    reason = "weights as .gguf only; a checkpoint saved as .safetensors would work";
  }
  throw Error(ErrorKind::kIo, fmt::format("no weights in '{}': it has {}", Text(folder), reason));
}

std::string ChooseName(const fs::path& folder) {
  const std::vector<std::string> names = NamesIn(folder);
  for (const std::string_view name : kNames) {
    if (std::ranges::binary_search(names, name)) return std::string(name);
  }
  std::vector<std::string> variants;
  std::ranges::copy_if(names, std::back_inserter(variants), [](const auto& name) { return !VariantOf(name).empty(); });
  if (variants.empty()) RefuseWithout(folder, names);
  if (variants.size() > 1) {
    throw Error(ErrorKind::kFormat,
                fmt::format("several variants of the weights in '{}' ({}): keep one, or name one of them "
                            "diffusion_pytorch_model.safetensors or model.safetensors",
                            Text(folder), Printable(Join(variants, ", "), 300)));
  }
  return variants[0];
}

void CheckShardName(const fs::path& index, const std::string& key, const std::string& name) {
  const bool inside = !name.empty() && name.find('/') == std::string::npos && name != "." && name != ".." &&
                      name.find('\0') == std::string::npos && name.ends_with(".safetensors");
  if (inside) return;
  throw Error(ErrorKind::kFormat,
              fmt::format("{}: tensor '{}' is said to be in '{}', which is not a .safetensors file beside the index",
                          Text(index), Printable(key), Printable(name)));
}

void ReadIndex(WeightFiles& weights) {
  const Config config = Config::FromFile(weights.index);
  if (!config.Has("weight_map")) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: 'weight_map' is missing", config.file()));
  }
  std::set<std::string> names;
  const Config map = config.Object("weight_map");
  for (const auto& [key, value] : map.json().items()) {
    if (!value.is_string()) {
      throw Error(ErrorKind::kFormat, fmt::format("{}: '{}' must be a file name, found {}", map.file(), Printable(key),
                                                  DescribeJson(value)));
    }
    const auto& name = value.get_ref<const std::string&>();
    CheckShardName(weights.index, key, name);
    names.insert(name);
    weights.file_of_key.emplace(key, name);
  }
  for (const std::string& name : names) {
    const fs::path file = weights.index.parent_path() / name;
    std::error_code ignored;
    if (!fs::exists(file, ignored)) {
      throw Error(ErrorKind::kIo, fmt::format("'{}' is missing, but {} lists it (an incomplete download?)", Text(file),
                                              Text(weights.index.filename())));
    }
    weights.files.push_back(file);
  }
}

}  // namespace

WeightFiles FindWeightFiles(const fs::path& folder) {
  const std::string name = ChooseName(folder);
  WeightFiles weights;
  weights.variant = VariantOf(name);
  if (!name.ends_with(".json")) {
    weights.files.push_back(folder / name);
  } else {
    weights.index = folder / name;
    ReadIndex(weights);
  }
  return weights;
}

}  // namespace tessera
