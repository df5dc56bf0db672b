#include "cli/random_model/write_model.h"

#include <algorithm>
#include <bit>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/random_model/random_values.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

constexpr int64_t kChunk = int64_t{1} << 24;  // elements drawn at a time

DType TypeOf(const TensorSpec& spec, DType dtype) { return spec.kind == TensorKind::kCounter ? DType::kI64 : dtype; }

size_t BytesOf(const TensorSpec& spec, DType dtype) {
  return static_cast<size_t>(spec.shape.numel()) * SizeOf(TypeOf(spec, dtype));
}

size_t BytesOf(std::span<const TensorSpec> tensors, DType dtype) {
  size_t bytes = 0;
  for (const TensorSpec& spec : tensors) bytes += BytesOf(spec, dtype);
  return bytes;
}

std::string FormatName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kI64:
      return "I64";
    default:
      return "BF16";
  }
}

// The first bytes of a safetensors file: header length, then the header padded to eight bytes.
std::string Header(std::span<const TensorSpec> tensors, DType dtype) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  size_t begin = 0;
  for (const TensorSpec& spec : tensors) {
    const size_t end = begin + BytesOf(spec, dtype);
    Json sizes = Json::array();
    for (int64_t size : spec.shape.sizes()) sizes.push_back(size);
    header[spec.name] = {
        {"dtype", FormatName(TypeOf(spec, dtype))}, {"shape", sizes}, {"data_offsets", Json::array({begin, end})}};
    begin = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const auto length = static_cast<uint64_t>(text.size());
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
}

void WriteText(const fs::path& path, const std::string& text) {
  WriteFileAtomically(path, std::as_bytes(std::span(text)));
}

void WriteWeights(const fs::path& path, std::span<const TensorSpec> tensors, DType dtype, const RandomValues& values) {
  AtomicFile file(path);
  const std::string header = Header(tensors, dtype);
  file.Write(std::as_bytes(std::span(header)));
  std::vector<std::byte> chunk(static_cast<size_t>(kChunk) * SizeOf(DType::kF32));
  for (const TensorSpec& spec : tensors) {
    for (int64_t first = 0; first < spec.shape.numel(); first += kChunk) {
      const int64_t count = std::min(kChunk, spec.shape.numel() - first);
      values.Fill(spec, dtype, first, count, chunk.data());
      file.Write(std::span(chunk).first(static_cast<size_t>(count) * SizeOf(TypeOf(spec, dtype))));
    }
  }
  file.Commit();
}

// Consecutive tensors that fit into one file each.
std::vector<std::span<const TensorSpec>> Shards(const ModelComponent& component, size_t shard_bytes) {
  const std::span<const TensorSpec> tensors = component.tensors;
  std::vector<std::span<const TensorSpec>> shards;
  size_t first = 0, bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const size_t more = BytesOf(tensors[i], component.dtype);
    if (i > first && bytes + more > shard_bytes) {
      shards.push_back(tensors.subspan(first, i - first));
      first = i;
      bytes = 0;
    }
    bytes += more;
  }
  shards.push_back(tensors.subspan(first));
  return shards;
}

void WriteComponent(const ModelComponent& component, size_t shard_bytes, const fs::path& folder,
                    const RandomValues& values) {
  const auto shards = Shards(component, shard_bytes);
  if (shards.size() == 1) {
    WriteWeights(folder / (component.stem + ".safetensors"), shards[0], component.dtype, values);
    return;
  }
  Json places = Json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("{}-{:05}-of-{:05}.safetensors", component.stem, i + 1, shards.size());
    WriteWeights(folder / name, shards[i], component.dtype, values);
    for (const TensorSpec& spec : shards[i]) places[spec.name] = name;
  }
  const Json index = {{"metadata", {{"total_size", BytesOf(component.tensors, component.dtype)}}},
                      {"weight_map", places}};
  WriteText(folder / (component.stem + ".safetensors.index.json"), index.dump(2) + "\n");
}

void CheckFolder(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder, error) || fs::is_empty(folder, error)) return;
  throw Error(
      ErrorKind::kUsage,
      fmt::format("a random model was asked for in '{}', which is not empty; name a new folder", folder.string()));
}

void CheckSpace(const fs::path& folder, size_t wanted) {
  std::error_code error;
  fs::path existing = fs::absolute(folder);
  while (!fs::exists(existing, error) && existing.has_relative_path()) existing = existing.parent_path();
  const fs::space_info space = fs::space(existing, error);
  if (error || space.available >= wanted) return;
  throw Error(ErrorKind::kIo,
              fmt::format("the model needs {} at '{}', which has {} free", FormatBytes(static_cast<double>(wanted)),
                          folder.string(), FormatBytes(static_cast<double>(space.available))));
}

}  // namespace

size_t CountBytes(const ModelContents& contents) {
  size_t bytes = 0;
  for (const ModelComponent& component : contents.components) bytes += BytesOf(component.tensors, component.dtype);
  return bytes;
}

int64_t CountElements(const ModelContents& contents) {
  int64_t elements = 0;
  for (const ModelComponent& component : contents.components) elements += CountElements(component.tensors);
  return elements;
}

void WriteRandomModel(const ModelContents& contents, const RandomWeights& weights, const fs::path& folder) {
  CheckFolder(folder);
  CheckSpace(folder, CountBytes(contents));
  const RandomValues values(weights.seed);
  for (const ModelFile& file : contents.files) WriteText(folder / file.path, file.text);
  for (const ModelComponent& component : contents.components) {
    WriteComponent(component, weights.shard_bytes, folder / component.folder, values);
  }
  WriteText(folder / contents.index.path, contents.index.text);
}

}  // namespace tessera
