// Files that appear whole or not at all.
#pragma once
#include <cstddef>
#include <filesystem>
#include <span>

namespace tessera {

// Writes to a temporary file in the same folder, syncs, renames. Creates missing folders. Throws Error{kIo} with the path
// and the reason ("no space left on device"); leaves nothing behind then, nor when the process is interrupted.
void WriteFileAtomically(const std::filesystem::path& path, std::span<const std::byte> bytes);

// Removes temporary files of writes in progress; safe to call from a signal-driven shutdown path.
void RemoveUnfinishedFiles() noexcept;

}  // namespace tessera
