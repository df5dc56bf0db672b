// Folders of files that appear whole or not at all.
#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/missing_folders.h"

namespace tessera {

// A folder filled under a temporary name beside its target. Creates missing parents. Until Commit() returns nothing is
// to be seen at `path`; without it nothing stays behind.
class AtomicFolder {
 public:
  // What may be there already and give way: an empty folder, and one in which `replaceable` accepts every name.
  using NameTest = bool (*)(std::string_view name);

  AtomicFolder(std::filesystem::path path, NameTest replaceable);  // throws Error{kIo}
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  // A file of that name inside, on disk when this returns; throws Error{kIo}.
  void WriteFile(const std::string& name, std::span<const std::byte> bytes);
  void Commit();  // throws Error{kIo}

 private:
  void CheckReplaceable();
  void Create();
  void Replace();
  void Discard() noexcept;
  [[noreturn]] void Fail(const std::filesystem::path& target, int error);

  std::filesystem::path path_, parent_, temporary_;
  NameTest replaceable_;
  MissingFolders created_parents_;
  int place_ = -1;  // in the list of unfinished paths
};

}  // namespace tessera
