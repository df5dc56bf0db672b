#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace tessera {

void CheckFailed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "tessera: internal error: %s (%s:%d)\n", expression, file, line);
  std::abort();
}

}  // namespace tessera
