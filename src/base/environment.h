// The only reader of environment variables.
#pragma once
#include <string>

namespace tessera {
// The variable's value, or "" when it is not set.
std::string EnvironmentVariable(const char* name);
}  // namespace tessera
