// The safetensors format: u64 little-endian header length, JSON header, tensor bytes.
#pragma once
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tensor/storage.h"
#include "tensor/tensor.h"

namespace tessera {

struct SafetensorsEntry {
  std::string key;
  DType dtype;
  Shape shape;
  size_t begin = 0, end = 0;  // bytes relative to the start of the tensor area
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;        // in file order of their bytes
  std::map<std::string, std::string> metadata;  // __metadata__
  size_t tensor_area = 0;                       // offset of the tensor area in the file
};

// Parses and checks the header of a file with `file_size` bytes of which `prefix` holds at least the header.
// Throws Error{kFormat} with `file`, key and reason for every lie: truncated, header over 100 MB or deeper than the
// format allows, duplicate keys, unknown dtype, negative or overflowing sizes, wrong byte counts, overlaps, gaps, out
// of range.
SafetensorsHeader ParseSafetensorsHeader(std::span<const std::byte> prefix, size_t file_size, const std::string& file);

// A whole file: header and views into its mapping (they keep the mapping alive).
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);  // throws Error{kIo, kFormat}
  const SafetensorsHeader& header() const noexcept { return header_; }
  // Read-only; a copy when the file places the elements at addresses their type cannot have.
  Tensor View(const SafetensorsEntry& entry) const;
  Tensor Get(const std::string& key) const;  // throws Error{kFormat} when missing
  bool Contains(const std::string& key) const;

 private:
  std::filesystem::path path_;
  MappedFile file_;
  SafetensorsHeader header_;
  std::map<std::string, size_t> places_;  // key -> index into header_.entries
};

// Writes tensors (contiguous, any dtype, distinct names) in the given order, whole or not at all. Throws Error{kIo},
// Error{kFormat} for a name or a metadata text that is not UTF-8.
void WriteSafetensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                      const std::map<std::string, std::string>& metadata);

}  // namespace tessera
