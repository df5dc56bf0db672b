#include "tensor/storage.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

[[noreturn]] void ThrowIo(const std::filesystem::path& path, const char* what) {
  throw Error(ErrorKind::kIo,
              fmt::format("cannot {} '{}': {}", what, Printable(path.string(), 400), std::strerror(errno)));
}

}  // namespace

std::shared_ptr<std::byte> AllocateAligned(size_t bytes) {
  const size_t alignment = bytes >= 4 * kHugePage ? kHugePage : 64;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* memory = rounded < bytes ? nullptr : std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (memory == nullptr) {
    throw Error(ErrorKind::kMemory, fmt::format("cannot allocate {}", FormatBytes(static_cast<double>(bytes))));
  }
  if (alignment == kHugePage) ::madvise(memory, rounded, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(memory), [](std::byte* p) { std::free(p); }};
}

MappedFile MapFile(const std::filesystem::path& path) {
  // O_NONBLOCK: a named pipe without a writer would otherwise block the open.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (file.fd() < 0) ThrowIo(path, "open");
  struct stat status {};
  if (::fstat(file.fd(), &status) != 0) ThrowIo(path, "read the size of");
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::kIo, fmt::format("cannot read '{}': it is not a file", Printable(path.string(), 400)));
  }
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return {nullptr, 0};
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (memory == MAP_FAILED) ThrowIo(path, "map");
  return {{static_cast<const std::byte*>(memory),
           [size](const std::byte* p) { ::munmap(const_cast<std::byte*>(p), size); }},
          size};
}

void DropPages(std::span<const std::byte> range) noexcept {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(range.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(range.data()) + range.size()) / page * page;
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace tessera
