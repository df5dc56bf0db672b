// Folders made for a file that may never appear.
#pragma once
#include <filesystem>
#include <vector>

namespace tessera {

// Folders created on the way to a target; they go again with the object unless Keep() was called.
class MissingFolders {
 public:
  MissingFolders() = default;
  ~MissingFolders() { Remove(); }
  MissingFolders(const MissingFolders&) = delete;
  MissingFolders& operator=(const MissingFolders&) = delete;

  int Create(const std::filesystem::path& folder);  // 0, or the errno of the folder that could not be made
  void Keep() noexcept { created_.clear(); }
  void Remove() noexcept;

 private:
  std::vector<std::filesystem::path> created_;  // outermost first
};

}  // namespace tessera
