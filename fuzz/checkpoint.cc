// Any bytes as a saved run: what is accepted names files without folders and counts that are none below zero.
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "pipeline/checkpoint_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  try {
    const auto header = tessera::ParseSafetensorsHeader(std::as_bytes(std::span(bytes, size)), size, "fuzz");
    const tessera::SavedRun saved = tessera::ReadCheckpointHeader(header);
    TESSERA_CHECK(saved.picture >= 0 && saved.step >= 0);
    for (const std::string& name : saved.files) {
      TESSERA_CHECK(!std::filesystem::path("out").replace_filename(name).has_parent_path() && name != "..");
    }
  } catch (const tessera::Error& error) {
    TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
