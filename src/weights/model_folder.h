// A model on disk in diffusers' layout: model_index.json and one folder per component.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "base/config.h"
#include "weights/weight_map.h"

namespace tessera {

// One row of model_index.json: ["diffusers", "Flux2Transformer2DModel"]; class "" when [null, null].
struct ComponentEntry {
  std::string library, class_name;
};

class ModelFolder {
 public:
  // A folder, or a hub name ("black-forest-labs/FLUX.2-klein-4B") found in the local Hugging Face cache
  // (HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub; refs/<revision>, snapshots). Throws Error{kIo} with the
  // `hf download` line when a hub name is not in the cache, Error{kFormat} when model_index.json is no such file.
  static ModelFolder Open(const std::string& path_or_name, const std::string& revision = "main");

  const std::filesystem::path& path() const noexcept { return path_; }
  const std::string& name() const noexcept { return name_; }  // as given
  const Config& index() const noexcept { return index_; }
  std::string pipeline_class() const { return index_.String("_class_name", ""); }
  std::optional<ComponentEntry> component(const std::string& name) const;

  Config ComponentConfig(const std::string& component) const;  // <component>/config.json
  Config SchedulerConfig() const;                              // scheduler/scheduler_config.json
  // From now on SchedulerConfig is that of another folder.
  void UseScheduler(std::filesystem::path folder) { scheduler_ = std::move(folder); }
  // All tensors of a component: one file or shards with an index (diffusion_pytorch_model or model, .safetensors).
  WeightMap Weights(const std::string& component) const;
  // Sum of tensor bytes by reading headers only.
  size_t WeightBytes(const std::string& component) const;

 private:
  ModelFolder(std::filesystem::path path, std::string name, Config index)
      : path_(std::move(path)), name_(std::move(name)), index_(std::move(index)) {}
  std::filesystem::path path_;
  std::string name_;
  Config index_;
  std::filesystem::path scheduler_;  // empty: the model's own
};

}  // namespace tessera
