// Files that appear whole or not at all.
#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace tessera {

// A file written in pieces under a temporary name (or none, where the file system allows it) in the target's folder.
// Creates missing folders. Until Commit() returns nothing is to be seen at `path`; without it nothing stays behind.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);  // throws Error{kIo}
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void Write(std::span<const std::byte> bytes);  // throws Error{kIo}
  void Commit();                                 // syncs and renames; throws Error{kIo}

 private:
  void CreateFolders();
  void Open();
  void NameUnnamed();
  void Discard() noexcept;
  [[noreturn]] void Fail(const char* action, int error);

  std::filesystem::path path_, folder_;
  std::vector<std::filesystem::path> created_folders_;  // outermost first
  std::string temporary_;                               // empty while the file has no name
  int descriptor_ = -1;
  int slot_ = -1;  // place in the list of unfinished files
};

// Writes to a temporary file in the same folder, syncs, renames. Creates missing folders. Throws Error{kIo} with the
// path and the reason ("no space left on device"); leaves nothing behind then, nor when the process is interrupted.
void WriteFileAtomically(const std::filesystem::path& path, std::span<const std::byte> bytes);

// Removes temporary files of writes in progress; may be called from a signal handler before the process ends.
void RemoveUnfinishedFiles() noexcept;

}  // namespace tessera
