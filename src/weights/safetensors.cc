#include "weights/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/text.h"
#include "weights/safetensors_dtype.h"

namespace tessera {
namespace {

std::string FileName(const std::filesystem::path& path) { return Printable(path.string(), 400); }

void RequireUtf8(const std::filesystem::path& path, const std::string& text) {
  if (IsUtf8(text)) return;
  throw Error(ErrorKind::kFormat, fmt::format("cannot write '{}': '{}' is not UTF-8", FileName(path), Printable(text)));
}

std::string HeaderText(const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t end = 0;
  for (const auto& [key, tensor] : tensors) {
    const size_t begin = end;
    end += tensor.bytes();
    const std::span<const int64_t> sizes = tensor.shape().sizes();
    header[key] = {{"dtype", SafetensorsName(tensor.dtype())},
                   {"shape", std::vector<int64_t>(sizes.begin(), sizes.end())},
                   {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the tensor area begins at a multiple of 8
  return text;
}

void CheckTensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, Tensor>>& tensors) {
  std::set<std::string_view> keys;
  for (const auto& [key, tensor] : tensors) {
    RequireUtf8(path, key);
    TESSERA_CHECK(tensor.contiguous() && key != "__metadata__" && keys.insert(key).second);
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(path),
      file_(MapFile(path)),
      header_(ParseSafetensorsHeader({file_.bytes.get(), file_.size}, file_.size, FileName(path))) {
  for (size_t i = 0; i < header_.entries.size(); ++i) places_.emplace(header_.entries[i].key, i);
}

Tensor SafetensorsFile::View(const SafetensorsEntry& entry) const {
  const std::byte* elements = file_.bytes.get() + header_.tensor_area + entry.begin;
  if (reinterpret_cast<uintptr_t>(elements) % SizeOf(entry.dtype) == 0) {
    return Tensor::BorrowConst(elements, entry.shape, entry.dtype, file_.bytes);
  }
  Tensor copy = Tensor::Empty(entry.shape, entry.dtype);
  std::memcpy(copy.mutable_raw(), elements, entry.end - entry.begin);
  return copy;
}

Tensor SafetensorsFile::Get(const std::string& key) const {
  const auto place = places_.find(key);
  if (place == places_.end()) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: no tensor '{}'", FileName(path_), Printable(key)));
  }
  return View(header_.entries[place->second]);
}

bool SafetensorsFile::Contains(const std::string& key) const { return places_.contains(key); }

void WriteSafetensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  CheckTensors(path, tensors);
  for (const auto& [key, text] : metadata) {
    RequireUtf8(path, key);
    RequireUtf8(path, text);
  }
  const std::string header = HeaderText(tensors, metadata);
  const uint64_t length = header.size();
  AtomicFile file(path);
  file.Write(std::as_bytes(std::span(&length, 1)));
  file.Write(std::as_bytes(std::span(header.data(), header.size())));
  for (const auto& [key, tensor] : tensors) {
    file.Write({static_cast<const std::byte*>(tensor.raw()), tensor.bytes()});
  }
  file.Commit();
}

}  // namespace tessera
