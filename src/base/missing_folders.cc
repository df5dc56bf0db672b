#include "base/missing_folders.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace tessera {

int MissingFolders::Create(const std::filesystem::path& target) {
  std::vector<std::filesystem::path> missing;
  std::error_code ignored;
  for (auto folder = target; !folder.empty() && !std::filesystem::exists(folder, ignored);
       folder = folder.parent_path()) {
    if (folder.has_filename()) missing.push_back(folder);
  }
  for (auto folder = missing.rbegin(); folder != missing.rend(); ++folder) {
    if (::mkdir(folder->c_str(), 0777) == 0) {
      created_.push_back(*folder);
    } else if (errno != EEXIST) {
      return errno;
    }
  }
  return 0;
}

void MissingFolders::Remove() noexcept {
  for (auto folder = created_.rbegin(); folder != created_.rend(); ++folder) ::rmdir(folder->c_str());
  created_.clear();
}

}  // namespace tessera
