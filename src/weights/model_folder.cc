#include "weights/model_folder.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "weights/hub_cache.h"
#include "weights/safetensors.h"
#include "weights/weight_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexName = "model_index.json";

std::string Text(const fs::path& path) { return Printable(path.string(), 400); }

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

[[noreturn]] void RefuseFile(const fs::path& path) {
  throw Error(ErrorKind::kIo, fmt::format("'{}' is a file; a model is a folder with {} and one folder per component",
                                          Text(path), kIndexName));
}

// What was given in place of a model folder, and how the download is repaired when it came from the hub.
[[noreturn]] void RefuseWithoutIndex(const fs::path& folder, const std::string& repair) {
  std::string message = fmt::format("'{}' has no {}", Text(folder), kIndexName);
  if (!repair.empty()) {
    message += fmt::format(": the download is incomplete (`{}` completes it) or the model is not in diffusers' layout",
                           repair);
  } else if (Exists(folder / "config.json")) {
    message += ": it is a single component; give the folder of the whole model";
    const fs::path parent = fs::absolute(folder).lexically_normal() / "..";
    if (Exists(parent / kIndexName)) message += fmt::format(", '{}'", Text(parent.lexically_normal()));
  } else {
    message += ": it is not a model in diffusers' layout";
  }
  throw Error(ErrorKind::kIo, message);
}

// A hub snapshot links to blobs; an interrupted download leaves links to nothing.
void RefuseDanglingLinks(const fs::path& folder, const std::string& repair) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (!entry->is_symlink(error) || Exists(entry->path())) continue;
    const std::string advice = repair.empty() ? "" : fmt::format("; `{}` completes it", repair);
    throw Error(ErrorKind::kIo, fmt::format("the model is incomplete: '{}' is a link to a file that is not there{}",
                                            Text(entry->path()), advice));
  }
}

struct Place {
  fs::path folder;
  std::string repair;  // the line that downloads the model, when it came from the hub
};

Place Locate(const std::string& path_or_name, const std::string& revision) {
  std::error_code error;
  const fs::path path = path_or_name;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) {
    if (const auto snapshot = SnapshotInside(path, revision)) return {*snapshot, ""};
    return {path, ""};
  }
  if (fs::exists(status)) RefuseFile(path);
  if (IsHubName(path_or_name)) return {FindSnapshot(path_or_name, revision), DownloadLine(path_or_name, revision)};
  const std::string reason =
      error && error != std::errc::no_such_file_or_directory ? Lower(error.message()) : "no such folder";
  throw Error(ErrorKind::kIo,
              fmt::format("cannot open the model '{}': {}; a model is a folder with {} or a hub name such "
                          "as black-forest-labs/FLUX.2-klein-4B",
                          Printable(path_or_name, 400), reason, kIndexName));
}

void CheckComponents(const fs::path& folder, const Config& index, const std::string& repair) {
  RefuseDanglingLinks(folder / "", repair);
  for (const auto& [key, value] : index.json().items()) {
    if (value.is_array() && key.find('/') == std::string::npos) RefuseDanglingLinks(folder / key, repair);
  }
}

std::string StringOrEmpty(const nlohmann::json& value, const Config& index, const std::string& name) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  throw Error(ErrorKind::kFormat, fmt::format("{}: '{}' must be [library, class], found {} in it", index.file(),
                                              Printable(name), DescribeJson(value)));
}

// Every key of the index lies in its shard and every tensor of a shard is in the index.
void InsertShard(const SafetensorsFile& file, const fs::path& path, const WeightFiles& weights, WeightMap& map) {
  for (const SafetensorsEntry& entry : file.header().entries) {
    const auto listed = weights.file_of_key.find(entry.key);
    if (!weights.index.empty() && (listed == weights.file_of_key.end() || listed->second != path.filename())) {
      throw Error(ErrorKind::kFormat, fmt::format("{}: tensor '{}' is in '{}', but the index {}", Text(weights.index),
                                                  Printable(entry.key), Text(path.filename()),
                                                  listed == weights.file_of_key.end()
                                                      ? "does not list it"
                                                      : fmt::format("says '{}'", Printable(listed->second))));
    }
    map.Insert(entry.key, file.View(entry), path.string());
  }
  for (const auto& [key, name] : weights.file_of_key) {
    if (name != path.filename() || file.Contains(key)) continue;
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: tensor '{}' is not in '{}'", Text(weights.index), Printable(key), Printable(name)));
  }
}

}  // namespace

ModelFolder ModelFolder::Open(const std::string& path_or_name, const std::string& revision) {
  if (path_or_name.empty()) throw Error(ErrorKind::kUsage, "the model's name is empty; give a folder or a hub name");
  const Place place = Locate(path_or_name, revision);
  if (!Exists(place.folder / kIndexName)) RefuseWithoutIndex(place.folder, place.repair);
  Config index = Config::FromFile(place.folder / kIndexName);
  CheckComponents(place.folder, index, place.repair);
  return {place.folder, path_or_name, std::move(index)};
}

std::optional<ComponentEntry> ModelFolder::component(const std::string& name) const {
  const auto place = index_.json().find(name);
  if (place == index_.json().end() || !place->is_array()) return std::nullopt;
  if (place->size() != 2) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: '{}' must be [library, class], found {}", index_.file(),
                                                Printable(name), DescribeJson(*place)));
  }
  return ComponentEntry{StringOrEmpty((*place)[0], index_, name), StringOrEmpty((*place)[1], index_, name)};
}

Config ModelFolder::ComponentConfig(const std::string& component) const {
  const fs::path folder = path_ / component;
  if (!Exists(folder)) {
    throw Error(ErrorKind::kIo, fmt::format("the model '{}' is incomplete: it has no folder '{}'",
                                            Printable(name_, 400), Printable(component)));
  }
  const fs::path scheduler = folder / "scheduler_config.json";
  return Config::FromFile(Exists(scheduler) ? scheduler : folder / "config.json");
}

WeightMap ModelFolder::Weights(const std::string& component) const {
  const WeightFiles weights = FindWeightFiles(path_ / component);
  if (!weights.variant.empty()) {
    Log(LogLevel::kInfo,
        fmt::format("{}: the weights are the variant '{}', the only one there", component, Printable(weights.variant)));
  }
  WeightMap map(component);
  for (const fs::path& path : weights.files) InsertShard(SafetensorsFile(path), path, weights, map);
  return map;
}

size_t ModelFolder::WeightBytes(const std::string& component) const {
  size_t total = 0;
  for (const fs::path& path : FindWeightFiles(path_ / component).files) {
    const SafetensorsFile file(path);
    for (const SafetensorsEntry& entry : file.header().entries) total += entry.end - entry.begin;
  }
  return total;
}

Config ModelFolder::SchedulerConfig() const {
  return Config::FromFile((scheduler_.empty() ? path_ / "scheduler" : scheduler_) / "scheduler_config.json");
}

}  // namespace tessera
