#include "support/distilled_model.h"

#include <fstream>
#include <string>
#include <vector>

#include "weights/safetensors.h"

namespace tessera::testing {
namespace {

namespace fs = std::filesystem;
const std::string kGolden = TESSERA_SOURCE_FOLDER "/tests/golden/";

nlohmann::json ReadJson(const fs::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

void WriteJson(const fs::path& path, const nlohmann::json& json) { std::ofstream(path) << json.dump(1); }

// Puts a file with the recording's gates beside the others in the place of a link to one without.
void AddGates(const fs::path& path, const std::string& name) {
  const std::string prefix = "fast_gated.gates.", recorded = "to_gate_compress";
  const SafetensorsFile plain(path.string()), golden(kGolden + "wan_distilled.safetensors");
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& entry : plain.header().entries) tensors.emplace_back(entry.key, plain.View(entry));
  for (const auto& entry : golden.header().entries) {
    if (!entry.key.starts_with(prefix)) continue;
    std::string key = entry.key.substr(prefix.size());
    tensors.emplace_back(key.replace(key.find(recorded), recorded.size(), name), golden.View(entry));
  }
  fs::remove(path);
  WriteSafetensors(path.string(), tensors, {});
}

}  // namespace

nlohmann::json DistilledJob(const std::string& name) { return ReadJson(kGolden + "wan_distilled.json")["cases"][name]; }

void ComposeDistilledModel(const nlohmann::json& job, const fs::path& folder) {
  const fs::path source = kGolden + "pipelines/" + job["folder"].get<std::string>();
  fs::create_directories(folder);
  nlohmann::json index = ReadJson(source / "model_index.json");
  index["_class_name"] = job["pipeline"];
  WriteJson(folder / "model_index.json", index);
  for (const auto& component : fs::directory_iterator(source)) {
    if (!component.is_directory()) continue;
    const std::string name = component.path().filename();
    if (!name.starts_with("transformer")) {
      fs::create_directory_symlink(component.path(), folder / name);
      continue;
    }
    fs::create_directory(folder / name);
    for (const auto& file : fs::directory_iterator(component)) {
      if (file.path().filename() != "config.json") fs::create_symlink(file, folder / name / file.path().filename());
    }
    if (job.contains("sparsity")) {
      AddGates(folder / name / "diffusion_pytorch_model.safetensors", job.value("gate", "to_gate_compress"));
    }
    nlohmann::json config = ReadJson(component.path() / "config.json");
    config.update(job["transformer_config"]);
    WriteJson(folder / name / "config.json", config);
  }
}

}  // namespace tessera::testing
