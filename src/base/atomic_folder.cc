#include "base/atomic_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "base/unfinished_paths.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

fs::path WithoutSlash(fs::path path) { return path.has_filename() ? path : path.parent_path(); }

int SyncAndClose(int descriptor) {
  const int error = ::fsync(descriptor) != 0 && errno != EINVAL ? errno : 0;
  return ::close(descriptor) != 0 && error == 0 ? errno : error;
}

// 0, or the errno of what failed.
int WriteNewFile(const fs::path& path, std::span<const std::byte> bytes) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) return errno;
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int error = errno;
      ::close(descriptor);
      return error;
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return SyncAndClose(descriptor);
}

void SyncFolder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) SyncAndClose(descriptor);
}

}  // namespace

AtomicFolder::AtomicFolder(fs::path path, NameTest replaceable)
    : path_(WithoutSlash(std::move(path))), parent_(path_.parent_path()), replaceable_(replaceable) {
  if (parent_.empty()) parent_ = ".";
  if (!path_.has_filename() || path_.filename() == "." || path_.filename() == "..") Fail(path_, EINVAL);
  CheckReplaceable();
  if (const int error = created_parents_.Create(parent_); error != 0) Fail(path_, error);
  Create();
}

AtomicFolder::~AtomicFolder() { Discard(); }

void AtomicFolder::CheckReplaceable() {
  struct stat status {};
  if (::lstat(path_.c_str(), &status) != 0) return;
  const auto refuse = [&](std::string_view reason) {
    throw Error(ErrorKind::kIo,
                fmt::format("cannot write the folder '{}': {}", Printable(path_.string()), Printable(reason, 300)));
  };
  if (!S_ISDIR(status.st_mode)) refuse("a file has that name");
  std::error_code error;
  for (fs::directory_iterator entry(path_, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const bool plain = entry->is_regular_file(error) && !entry->is_symlink(error);
    if (!plain || !replaceable_(name)) refuse(fmt::format("it exists and holds '{}', which would be lost", name));
  }
  if (error) Fail(path_, error.value());
}

void AtomicFolder::Create() {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const fs::path name = parent_ / fmt::format(".tessera-{}-{}.part", ::getpid(), attempt);
    place_ = RememberUnfinished(name.string());
    if (::mkdir(name.c_str(), 0777) == 0) {
      temporary_ = name;
      return;
    }
    const int error = errno;
    ForgetUnfinished(place_);
    place_ = -1;
    if (error != EEXIST) Fail(path_, error);
  }
  Fail(path_, EEXIST);
}

void AtomicFolder::WriteFile(const std::string& name, std::span<const std::byte> bytes) {
  if (const int error = WriteNewFile(temporary_ / name, bytes); error != 0) Fail(path_ / name, error);
}

// The two folders change places, so that there is a whole one at any moment; what was there is removed as temporary.
void AtomicFolder::Replace() {
  CheckReplaceable();
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) == 0) return;
  if (errno != EINVAL && errno != ENOSYS) Fail(path_, errno);
  // Not every file system can do that.
  fs::path aside = temporary_;
  aside += ".old";
  if (::rename(path_.c_str(), aside.c_str()) != 0) Fail(path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::rename(aside.c_str(), path_.c_str());
    Fail(path_, error);
  }
  temporary_ = aside;
}

void AtomicFolder::Commit() {
  SyncFolder(temporary_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    if (errno != ENOTEMPTY && errno != EEXIST) Fail(path_, errno);
    Replace();
  }
  created_parents_.Keep();
  Discard();
  SyncFolder(parent_);
}

void AtomicFolder::Discard() noexcept {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  temporary_.clear();
  ForgetUnfinished(place_);
  place_ = -1;
  created_parents_.Remove();
}

void AtomicFolder::Fail(const fs::path& target, int error) {
  Discard();
  std::string reason = std::strerror(error);
  reason[0] = Lower(reason)[0];
  throw Error(ErrorKind::kIo, fmt::format("cannot write '{}': {}", Printable(target.string()), reason));
}

}  // namespace tessera
