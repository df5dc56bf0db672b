#include "base/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

class OpenFile {
 public:
  // O_NONBLOCK: a named pipe without a writer would otherwise block the open.
  explicit OpenFile(const char* path) : descriptor_(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {}
  ~OpenFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int descriptor() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

[[noreturn]] void Refuse(const std::filesystem::path& path, std::string_view reason) {
  throw Error(ErrorKind::kIo, fmt::format("{}: {}", Printable(path.native(), 400), reason));
}

[[noreturn]] void RefuseSize(const std::filesystem::path& path, size_t most_bytes) {
  Refuse(path, fmt::format("too large, at most {} are read", FormatBytes(static_cast<double>(most_bytes))));
}

size_t RegularFileSize(const std::filesystem::path& path, int descriptor) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) Refuse(path, Lower(std::strerror(errno)));
  if (S_ISDIR(status.st_mode)) Refuse(path, "is a folder, a file is needed");
  if (!S_ISREG(status.st_mode)) Refuse(path, "is a pipe or device, a regular file is needed");
  return static_cast<size_t>(status.st_size);
}

}  // namespace

std::string ReadWholeFile(const std::filesystem::path& path, size_t most_bytes) {
  const OpenFile file(path.c_str());
  if (file.descriptor() < 0) Refuse(path, Lower(std::strerror(errno)));
  const size_t size = RegularFileSize(path, file.descriptor());
  if (size > most_bytes) RefuseSize(path, most_bytes);
  // One byte more than announced tells the end from a file that is still growing.
  std::string bytes(size + 1, '\0');
  size_t filled = 0;
  for (;;) {
    const ssize_t got = read(file.descriptor(), bytes.data() + filled, bytes.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) Refuse(path, Lower(std::strerror(errno)));
    if (got == 0) break;
    filled += static_cast<size_t>(got);
    if (filled > most_bytes) RefuseSize(path, most_bytes);
    if (filled == bytes.size()) bytes.resize(2 * bytes.size());
  }
  bytes.resize(filled);
  return bytes;
}

}  // namespace tessera
