#include "base/environment.h"

#include <cstdlib>

namespace tessera {
std::string EnvironmentVariable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}
}  // namespace tessera
