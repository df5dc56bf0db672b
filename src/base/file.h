// Whole files in memory.
#pragma once
#include <cstddef>
#include <filesystem>
#include <string>

namespace tessera {

// The bytes of a regular file. Throws Error{kIo} when it cannot be read, Error{kFormat} when it has more than `limit`.
std::string ReadFile(const std::filesystem::path& path, size_t limit);

}  // namespace tessera
