// Pictures made by tools/make_test_pictures.py with Pillow.
#pragma once
#include <filesystem>
#include <string>

#include "base/read_file.h"

namespace tessera {

inline std::filesystem::path GoldenPicture(const std::string& name) {
  return std::filesystem::path(TESSERA_SOURCE_FOLDER "/tests/golden/media") / name;
}

inline std::string GoldenBytes(const std::string& name) { return ReadWholeFile(GoldenPicture(name), 1 << 20); }

}  // namespace tessera
