// Any bytes as a safetensors file: every tensor of an accepted header lies in the file, and the bytes between the
// header and the end belong to exactly one.
#include <cstdint>
#include <span>
#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "weights/safetensors.h"

namespace {

void CheckHeader(const tessera::SafetensorsHeader& header, size_t file_size) {
  size_t reached = 0;
  TESSERA_CHECK(header.tensor_area <= file_size);
  for (const tessera::SafetensorsEntry& entry : header.entries) {
    TESSERA_CHECK(entry.begin == reached && entry.end >= entry.begin);
    TESSERA_CHECK(static_cast<size_t>(entry.shape.numel()) * tessera::SizeOf(entry.dtype) == entry.end - entry.begin);
    TESSERA_CHECK(tessera::Tensor::Borrow(nullptr, entry.shape, entry.dtype).contiguous());
    reached = entry.end;
  }
  TESSERA_CHECK(header.tensor_area + reached == file_size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  try {
    CheckHeader(tessera::ParseSafetensorsHeader(std::as_bytes(std::span(bytes, size)), size, "fuzz.safetensors"), size);
  } catch (const tessera::Error& error) {
    TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
