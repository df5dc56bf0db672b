// The one exception of tessera: thrown while loading and planning, when what was asked cannot be done.
#pragma once
#include <stdexcept>
#include <string>

namespace tessera {

// What went wrong; the exit code of the command line is ExitCode(kind).
enum class ErrorKind { kUsage, kUnsupported, kFormat, kIo, kMemory, kInterrupted };

// A message says what was asked, what is wrong with which value, and what would work: one line, lower case, no full
// stop.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

// 2 usage, 3 unsupported, 4 format, 5 io, 6 memory, 130 interrupted.
int ExitCode(ErrorKind kind) noexcept;

}  // namespace tessera
