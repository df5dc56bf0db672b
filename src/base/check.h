// CHECK for our own bugs: prints the expression and the place, then aborts. Never used for what a user can cause.
#pragma once

namespace tessera {
[[noreturn]] void CheckFailed(const char* expression, const char* file, int line) noexcept;
}  // namespace tessera

#define TESSERA_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::tessera::CheckFailed(#condition, __FILE__, __LINE__))
