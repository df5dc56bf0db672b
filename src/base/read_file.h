// Whole files in memory.
#pragma once
#include <cstddef>
#include <filesystem>
#include <string>

namespace tessera {

// The bytes of a regular file. Throws Error{kIo} naming the path: missing, not readable, a folder, a pipe or device
// (never waits for one), larger than `most_bytes`.
std::string ReadWholeFile(const std::filesystem::path& path, size_t most_bytes);

}  // namespace tessera
