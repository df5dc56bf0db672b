#include "base/atomic_file.h"

#include <fcntl.h>
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

std::string TemporaryName(const std::filesystem::path& folder, int attempt) {
  return (folder / fmt::format(".tessera-{}-{}.part", ::getpid(), attempt)).string();
}

std::string ProcessName(int descriptor) { return fmt::format("/proc/self/fd/{}", descriptor); }

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)), folder_(path_.parent_path()) {
  if (folder_.empty()) folder_ = ".";
  struct stat status {};
  if (!path_.has_filename()) Fail("write", EISDIR);
  if (::stat(path_.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::kIo, fmt::format("cannot write '{}': a {} has that name", Printable(path_.string()),
                                            S_ISDIR(status.st_mode) ? "folder" : "special file"));
  }
  if (const int error = created_folders_.Create(folder_); error != 0) Fail("create the folder for", error);
  Open();
}

AtomicFile::~AtomicFile() { Discard(); }

// A file without a name vanishes even when the process is killed; not every file system has them.
void AtomicFile::Open() {
  descriptor_ = ::open(folder_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
  if (descriptor_ >= 0 && ::access(ProcessName(descriptor_).c_str(), F_OK) == 0) return;
  if (descriptor_ >= 0) ::close(descriptor_);
  for (int attempt = 0; attempt < 1000; ++attempt) {
    temporary_ = TemporaryName(folder_, attempt);
    slot_ = RememberUnfinished(temporary_);
    descriptor_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ >= 0) return;
    const int error = errno;
    ForgetUnfinished(slot_);
    slot_ = -1;
    temporary_.clear();
    if (error != EEXIST) Fail("write", error);
  }
  Fail("write", EEXIST);
}

void AtomicFile::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) Fail("write", errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::WriteAt(int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) Fail("write", errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += written;
  }
}

size_t AtomicFile::ReadAt(int64_t offset, std::span<std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count =
        ::pread(descriptor_, bytes.data() + done, bytes.size() - done, offset + static_cast<int64_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail("write", errno);
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

// rename() replaces what is there, link() does not: the file needs a temporary name for a moment.
void AtomicFile::NameUnnamed() {
  for (int attempt = 0; temporary_.empty(); ++attempt) {
    const std::string name = TemporaryName(folder_, attempt);
    slot_ = RememberUnfinished(name);
    if (::linkat(AT_FDCWD, ProcessName(descriptor_).c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      temporary_ = name;
      return;
    }
    const int error = errno;
    ForgetUnfinished(slot_);
    slot_ = -1;
    if (error != EEXIST || attempt == 1000) Fail("write", error);
  }
}

void AtomicFile::Commit() {
  if (::fsync(descriptor_) != 0 && errno != EINVAL) Fail("write", errno);
  NameUnnamed();
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) Fail("write", errno);
  temporary_.clear();
  created_folders_.Keep();
  Discard();
  const int folder = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  ::fsync(folder);  // the name itself; a failure here cannot be undone
  ::close(folder);
}

void AtomicFile::Discard() noexcept {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
  ForgetUnfinished(slot_);
  slot_ = -1;
  created_folders_.Remove();
}

void AtomicFile::Fail(const char* action, int error) {
  Discard();
  std::string reason = std::strerror(error);
  reason[0] = Lower(reason)[0];
  throw Error(ErrorKind::kIo, fmt::format("cannot {} '{}': {}", action, Printable(path_.string()), reason));
}

void WriteFileAtomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.Write(bytes);
  file.Commit();
}

}  // namespace tessera
