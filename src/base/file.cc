#include "base/file.h"

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

[[noreturn]] void Fail(const std::filesystem::path& path, const std::string& reason) {
  throw Error(ErrorKind::kIo, fmt::format("cannot read '{}': {}", Printable(path.string(), 400), reason));
}

std::string Reason(int error) {
  std::string reason = std::strerror(error);
  reason[0] = Lower(reason)[0];
  return reason;
}

}  // namespace

std::string ReadFile(const std::filesystem::path& path, size_t limit) {
  // Without O_NONBLOCK a pipe of that name would wait for a writer.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.fd() < 0) Fail(path, Reason(errno));
  struct stat status {};
  if (::fstat(file.fd(), &status) != 0) Fail(path, Reason(errno));
  if (!S_ISREG(status.st_mode)) Fail(path, S_ISDIR(status.st_mode) ? "it is a folder" : "it is not a file");
  const auto size = static_cast<size_t>(status.st_size);
  if (size > limit) {
    throw Error(ErrorKind::kFormat,
                fmt::format("'{}' has {}, more than the {} that such a file may have", Printable(path.string(), 400),
                            FormatBytes(static_cast<double>(size)), FormatBytes(static_cast<double>(limit))));
  }
  std::string bytes(size, '\0');
  for (size_t done = 0; done < size;) {
    const ssize_t count = ::read(file.fd(), bytes.data() + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail(path, Reason(errno));
    if (count == 0) Fail(path, "it became shorter while it was read");
    done += static_cast<size_t>(count);
  }
  return bytes;
}

}  // namespace tessera
