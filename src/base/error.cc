#include "base/error.h"

namespace tessera {

int ExitCode(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kUsage:
      return 2;
    case ErrorKind::kUnsupported:
      return 3;
    case ErrorKind::kFormat:
      return 4;
    case ErrorKind::kIo:
      return 5;
    case ErrorKind::kMemory:
      return 6;
    case ErrorKind::kInterrupted:
      return 130;
  }
  return 1;
}

}  // namespace tessera
