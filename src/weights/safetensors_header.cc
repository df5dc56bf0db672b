#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "weights/safetensors.h"
#include "weights/safetensors_dtype.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;
constexpr size_t kMostHeaderBytes = 100'000'000;
constexpr int kHeaderDepth = 3;  // header, tensor, its shape
constexpr const char* kMetadataKey = "__metadata__";

[[noreturn]] void Refuse(const std::string& file, const std::string& reason) {
  throw Error(ErrorKind::kFormat, fmt::format("{}: {}", file, reason));
}

[[noreturn]] void RefuseTensor(const std::string& file, const std::string& key, const std::string& reason) {
  Refuse(file, fmt::format("tensor '{}': {}", Printable(key), reason));
}

uint64_t HeaderBytes(std::span<const std::byte> prefix, size_t file_size, const std::string& file) {
  if (file_size < kLengthBytes || prefix.size() < kLengthBytes) {
    Refuse(file, fmt::format("not a safetensors file: {} bytes are too few for a header", file_size));
  }
  uint64_t length = 0;
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(&length, prefix.data(), kLengthBytes);
  if (length > kMostHeaderBytes) {
    Refuse(file, fmt::format("not a safetensors file: a header of {} bytes, more than the format's {}", length,
                             kMostHeaderBytes));
  }
  if (length > file_size - kLengthBytes || length > prefix.size() - kLengthBytes) {
    Refuse(file, fmt::format("truncated: a header of {} bytes, but {} bytes after its length", length,
                             file_size - kLengthBytes));
  }
  return length;
}

const json& Field(const json& tensor, const char* name, const std::string& file, const std::string& key) {
  const auto place = tensor.find(name);
  if (place == tensor.end()) RefuseTensor(file, key, fmt::format("'{}' is missing", name));
  return *place;
}

size_t Size(const json& value, const char* what, const std::string& file, const std::string& key) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t{INT64_MAX}) {
    RefuseTensor(file, key, fmt::format("{} {} is not an integer from 0 to 2^63 - 1", what, DescribeJson(value)));
  }
  return value.get<uint64_t>();
}

Shape ParseShape(const json& sizes, const std::string& file, const std::string& key) {
  if (!sizes.is_array()) RefuseTensor(file, key, fmt::format("shape {} is not an array", DescribeJson(sizes)));
  if (sizes.size() > Shape::kMaxRank) {
    RefuseTensor(file, key, fmt::format("{} dimensions, more than {}", sizes.size(), Shape::kMaxRank));
  }
  std::array<int64_t, Shape::kMaxRank> values{};
  for (size_t i = 0; i < sizes.size(); ++i) {
    values[i] = static_cast<int64_t>(Size(sizes[i], "size", file, key));
  }
  return Shape(std::span<const int64_t>(values.data(), sizes.size()));
}

// Strides of a tensor without elements must not overflow either, so its zeros count as ones.
size_t ByteCount(const Shape& shape, DType dtype, const std::string& file, const std::string& key) {
  int64_t bytes = static_cast<int64_t>(SizeOf(dtype));
  bool empty = false;
  for (const int64_t size : shape.sizes()) {
    empty |= size == 0;
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes)) {
      RefuseTensor(file, key, fmt::format("the shape {} overflows", shape.ToString()));
    }
  }
  return empty ? 0 : static_cast<size_t>(bytes);
}

SafetensorsEntry ParseEntry(const std::string& key, const json& tensor, const std::string& file) {
  if (!tensor.is_object()) RefuseTensor(file, key, fmt::format("{} is not an object", DescribeJson(tensor)));
  const json& dtype_name = Field(tensor, "dtype", file, key);
  const std::optional<DType> dtype =
      dtype_name.is_string() ? ParseSafetensorsDType(dtype_name.get_ref<const std::string&>()) : std::nullopt;
  if (!dtype) {
    RefuseTensor(
        file, key,
        fmt::format("unknown dtype {}; known are {}", DescribeJson(dtype_name), Join(SafetensorsDTypeNames(), ", ")));
  }
  SafetensorsEntry entry{key, *dtype, ParseShape(Field(tensor, "shape", file, key), file, key)};
  const json& offsets = Field(tensor, "data_offsets", file, key);
  if (!offsets.is_array() || offsets.size() != 2) {
    RefuseTensor(file, key, fmt::format("data_offsets is {}, not an array of 2", DescribeJson(offsets)));
  }
  entry.begin = Size(offsets[0], "offset", file, key);
  entry.end = Size(offsets[1], "offset", file, key);
  const size_t expected = ByteCount(entry.shape, entry.dtype, file, key);
  if (entry.end < entry.begin || entry.end - entry.begin != expected) {
    RefuseTensor(file, key,
                 fmt::format("data_offsets [{}, {}] do not span the {} bytes of {} {}", entry.begin, entry.end,
                             expected, Name(entry.dtype), entry.shape.ToString()));
  }
  return entry;
}

std::map<std::string, std::string> ParseMetadata(const json& value, const std::string& file) {
  if (!value.is_object()) Refuse(file, fmt::format("__metadata__ is {}, not an object", DescribeJson(value)));
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      Refuse(file, fmt::format("__metadata__ '{}' is {}, not a string", Printable(key), DescribeJson(text)));
    }
    metadata.emplace(key, text.get<std::string>());
  }
  return metadata;
}

// Tensors must fill the area after the header without gaps and overlaps: nothing hides in the file.
void CheckPlaces(const SafetensorsHeader& header, size_t file_size, const std::string& file) {
  const size_t area = file_size - header.tensor_area;
  size_t reached = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.end > area) {
      RefuseTensor(
          file, entry.key,
          fmt::format("ends at byte {}, but the file holds {} bytes of tensors (truncated?)", entry.end, area));
    }
    if (entry.begin != reached) {
      RefuseTensor(file, entry.key,
                   fmt::format("begins at byte {}, {} the end {} of the tensor before it", entry.begin,
                               entry.begin < reached ? "before" : "behind", reached));
    }
    reached = entry.end;
  }
  if (reached != area) Refuse(file, fmt::format("{} bytes after the last tensor belong to none", area - reached));
}

}  // namespace

SafetensorsHeader ParseSafetensorsHeader(std::span<const std::byte> prefix, size_t file_size, const std::string& file) {
  const uint64_t length = HeaderBytes(prefix, file_size, file);
  const std::string_view text(reinterpret_cast<const char*>(prefix.data()) + kLengthBytes, length);
  if (!text.starts_with('{')) Refuse(file, "not a safetensors file: its header does not begin with '{'");
  const json tree = ParseJson(text, file, kHeaderDepth);
  SafetensorsHeader header;
  header.tensor_area = kLengthBytes + length;
  for (const auto& [key, value] : tree.items()) {
    if (key == kMetadataKey) {
      header.metadata = ParseMetadata(value, file);
    } else {
      header.entries.push_back(ParseEntry(key, value, file));
    }
  }
  std::ranges::stable_sort(header.entries, {}, [](const auto& entry) { return std::pair(entry.begin, entry.end); });
  CheckPlaces(header, file_size, file);
  return header;
}

}  // namespace tessera
