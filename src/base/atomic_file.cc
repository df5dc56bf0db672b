#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

enum class SlotState : int { kFree, kFilling, kArmed };

// Names of files a dying process has to remove; fixed memory because a signal handler reads it.
struct Slot {
  std::atomic<SlotState> state{SlotState::kFree};
  std::array<char, 4096> path{};
};
constinit std::array<Slot, 16> unfinished;

int Remember(const std::string& path) noexcept {
  for (size_t i = 0; i < unfinished.size() && path.size() < unfinished[i].path.size(); ++i) {
    SlotState expected = SlotState::kFree;
    if (!unfinished[i].state.compare_exchange_strong(expected, SlotState::kFilling)) continue;
    std::memcpy(unfinished[i].path.data(), path.c_str(), path.size() + 1);
    unfinished[i].state.store(SlotState::kArmed);
    return static_cast<int>(i);
  }
  return -1;
}

void Forget(int slot) noexcept {
  if (slot >= 0) unfinished[static_cast<size_t>(slot)].state.store(SlotState::kFree);
}

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
  CreateFolders();
  Open();
}

AtomicFile::~AtomicFile() { Discard(); }

void AtomicFile::CreateFolders() {
  std::vector<std::filesystem::path> missing;
  std::error_code ignored;
  for (auto folder = folder_; !folder.empty() && !std::filesystem::exists(folder, ignored);
       folder = folder.parent_path()) {
    if (folder.has_filename()) missing.push_back(folder);
  }
  for (auto folder = missing.rbegin(); folder != missing.rend(); ++folder) {
    if (::mkdir(folder->c_str(), 0777) == 0) {
      created_folders_.push_back(*folder);
    } else if (errno != EEXIST) {
      Fail("create the folder for", errno);
    }
  }
}

// A file without a name vanishes even when the process is killed; not every file system has them.
void AtomicFile::Open() {
  descriptor_ = ::open(folder_.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
  if (descriptor_ >= 0 && ::access(ProcessName(descriptor_).c_str(), F_OK) == 0) return;
  if (descriptor_ >= 0) ::close(descriptor_);
  for (int attempt = 0; attempt < 1000; ++attempt) {
    temporary_ = TemporaryName(folder_, attempt);
    slot_ = Remember(temporary_);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ >= 0) return;
    const int error = errno;
    Forget(slot_);
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

// rename() replaces what is there, link() does not: the file needs a temporary name for a moment.
void AtomicFile::NameUnnamed() {
  for (int attempt = 0; temporary_.empty(); ++attempt) {
    const std::string name = TemporaryName(folder_, attempt);
    slot_ = Remember(name);
    if (::linkat(AT_FDCWD, ProcessName(descriptor_).c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      temporary_ = name;
      return;
    }
    const int error = errno;
    Forget(slot_);
    slot_ = -1;
    if (error != EEXIST || attempt == 1000) Fail("write", error);
  }
}

void AtomicFile::Commit() {
  if (::fsync(descriptor_) != 0 && errno != EINVAL) Fail("write", errno);
  NameUnnamed();
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) Fail("write", errno);
  temporary_.clear();
  created_folders_.clear();
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
  Forget(slot_);
  slot_ = -1;
  for (auto folder = created_folders_.rbegin(); folder != created_folders_.rend(); ++folder) ::rmdir(folder->c_str());
  created_folders_.clear();
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

void RemoveUnfinishedFiles() noexcept {
  for (Slot& slot : unfinished) {
    if (slot.state.load() == SlotState::kArmed) ::unlink(slot.path.data());
  }
}

}  // namespace tessera
