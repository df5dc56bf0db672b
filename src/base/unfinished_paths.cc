#include "base/unfinished_paths.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

namespace tessera {
namespace {

enum class SlotState : int { kFree, kFilling, kArmed };

// Fixed memory because a signal handler reads it.
struct Slot {
  std::atomic<SlotState> state{SlotState::kFree};
  std::array<char, 4096> path{};
};
constinit std::array<Slot, 16> unfinished;

// The record getdents64(2) fills in: readdir() may allocate, which a signal handler must not.
struct FolderEntry {
  uint64_t inode;
  int64_t offset;
  uint16_t bytes;
  uint8_t type;
  char name[1];
};

void RemoveFolder(const char* path) noexcept {
  const int folder = ::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  alignas(FolderEntry) std::array<char, 8192> entries;
  for (bool removed = true; removed;) {
    removed = false;
    ::lseek(folder, 0, SEEK_SET);
    for (long count; (count = ::syscall(SYS_getdents64, folder, entries.data(), entries.size())) > 0;) {
      for (long at = 0; at < count;) {
        const auto* entry = reinterpret_cast<const FolderEntry*>(entries.data() + at);
        removed = ::unlinkat(folder, entry->name, 0) == 0 || removed;
        at += entry->bytes;
      }
    }
  }
  ::close(folder);
  ::rmdir(path);
}

}  // namespace

int RememberUnfinished(const std::string& path) noexcept {
  for (size_t i = 0; i < unfinished.size() && path.size() < unfinished[i].path.size(); ++i) {
    SlotState expected = SlotState::kFree;
    if (!unfinished[i].state.compare_exchange_strong(expected, SlotState::kFilling)) continue;
    std::memcpy(unfinished[i].path.data(), path.c_str(), path.size() + 1);
    unfinished[i].state.store(SlotState::kArmed);
    return static_cast<int>(i);
  }
  return -1;
}

void ForgetUnfinished(int place) noexcept {
  if (place >= 0) unfinished[static_cast<size_t>(place)].state.store(SlotState::kFree);
}

void RemoveUnfinishedFiles() noexcept {
  for (Slot& slot : unfinished) {
    if (slot.state.load() != SlotState::kArmed) continue;
    if (::unlink(slot.path.data()) != 0 && errno == EISDIR) RemoveFolder(slot.path.data());
  }
}

}  // namespace tessera
