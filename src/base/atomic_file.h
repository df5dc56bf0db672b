// Files that appear whole or not at all.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/missing_folders.h"

namespace tessera {

// A file written in pieces under a temporary name (or none, where the file system allows it) in the target's folder.
// Creates missing folders. Until Commit() returns nothing is to be seen at `path`; without it nothing stays behind.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);  // throws Error{kIo}
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void Write(std::span<const std::byte> bytes);  // behind what was written so far; throws Error{kIo}
  void Commit();                                 // syncs and renames; throws Error{kIo}

  // For formats that go back to fill in sizes; `offset` counts from the beginning. Throw Error{kIo}.
  void WriteAt(int64_t offset, std::span<const std::byte> bytes);
  size_t ReadAt(int64_t offset, std::span<std::byte> bytes);  // fewer bytes only at the end

 private:
  void Open();
  void NameUnnamed();
  void Discard() noexcept;
  [[noreturn]] void Fail(const char* action, int error);

  std::filesystem::path path_, folder_;
  MissingFolders created_folders_;
  std::string temporary_;  // empty while the file has no name
  int descriptor_ = -1;
  int slot_ = -1;  // place in the list of unfinished files
};

// Writes to a temporary file in the same folder, syncs, renames. Creates missing folders. Throws Error{kIo} with the
// path and the reason ("no space left on device"); leaves nothing behind then, nor when the process is interrupted.
void WriteFileAtomically(const std::filesystem::path& path, std::span<const std::byte> bytes);

}  // namespace tessera
