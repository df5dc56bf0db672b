#include "pipeline/checkpoint_file.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "tensor/finite.h"

namespace tessera {
namespace {

constexpr const char* kFormatKey = "tessera_checkpoint";
constexpr const char* kFormat = "1";
constexpr int64_t kMostCount = int64_t{1} << 40;

[[noreturn]] void Refuse(const std::string& reason) { throw Error(ErrorKind::kFormat, reason); }

const std::string& Field(const SafetensorsHeader& header, const char* key) {
  const auto place = header.metadata.find(key);
  if (place == header.metadata.end()) Refuse(fmt::format("is no checkpoint: its metadata has no '{}'", key));
  return place->second;
}

int64_t Count(const SafetensorsHeader& header, const char* key) {
  const auto count = ParseInt(Field(header, key));
  if (!count || *count < 0 || *count > kMostCount) {
    Refuse(fmt::format("its '{}' is '{}', no count", key, Printable(Field(header, key), 40)));
  }
  return *count;
}

nlohmann::json List(const SafetensorsHeader& header, const char* key) {
  nlohmann::json list = ParseJson(Field(header, key), fmt::format("its '{}'", key), 3);
  if (!list.is_array()) Refuse(fmt::format("its '{}' is {}, not a list", key, DescribeJson(list)));
  return list;
}

std::string Word(const nlohmann::json& value, const char* key) {
  if (!value.is_string()) Refuse(fmt::format("its '{}' has {} in place of a text", key, DescribeJson(value)));
  return value.get<std::string>();
}

JobIdentity JobOf(const SafetensorsHeader& header) {
  JobIdentity job;
  for (const nlohmann::json& row : List(header, "job")) {
    if (!row.is_array() || row.size() != 2) Refuse(fmt::format("its 'job' has {}, not a pair", DescribeJson(row)));
    job.emplace_back(Word(row[0], "job"), Word(row[1], "job"));
  }
  return job;
}

// Names only: a file from elsewhere must not choose folders.
std::vector<std::string> FilesOf(const SafetensorsHeader& header) {
  std::vector<std::string> files;
  for (const nlohmann::json& row : List(header, "files")) {
    const std::string name = Word(row, "files");
    if (name.empty() || name[0] == '.' || std::filesystem::path(name).filename() != name) {
      Refuse(fmt::format("its 'files' has '{}', no file name", Printable(name, 60)));
    }
    files.push_back(name);
  }
  return files;
}

bool IsSound(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::kF64:
    case DType::kF32:
    case DType::kBF16:
    case DType::kF16:
      return AllFinite(tensor);
    case DType::kI64:
      return true;
    case DType::kF8E4M3:
    case DType::kF8E5M2:
    case DType::kI32:
    case DType::kI16:
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
      return false;
  }
  return false;
}

TensorState StateOf(const SafetensorsFile& file) {
  NamedTensors tensors;
  for (const SafetensorsEntry& entry : file.header().entries) {
    tensors.emplace_back(entry.key, file.View(entry));
    if (!IsSound(tensors.back().second)) {
      Refuse(fmt::format("tensor '{}' of {} has values that no run saves", Printable(entry.key), Name(entry.dtype)));
    }
  }
  return TensorState(std::move(tensors));
}

}  // namespace

void WriteCheckpoint(const std::filesystem::path& path, const SavedRun& saved) {
  WriteSafetensors(path, saved.state.tensors(),
                   {{kFormatKey, kFormat},
                    {"job", nlohmann::json(saved.job).dump()},
                    {"files", nlohmann::json(saved.files).dump()},
                    {"picture", std::to_string(saved.picture)},
                    {"step", std::to_string(saved.step)}});
}

SavedRun ReadCheckpointHeader(const SafetensorsHeader& header) {
  if (const std::string& format = Field(header, kFormatKey); format != kFormat) {
    Refuse(fmt::format("is a checkpoint of format '{}'; this version reads format {}", Printable(format, 40), kFormat));
  }
  return {JobOf(header), FilesOf(header), Count(header, "picture"), Count(header, "step"), {}};
}

SavedRun ReadCheckpoint(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  try {
    SavedRun saved = ReadCheckpointHeader(file.header());
    saved.state = StateOf(file);
    return saved;
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}: {}", Printable(path.string(), 400), error.what()));
  }
}

}  // namespace tessera
