// Time for measuring what things take.
#pragma once
#include <chrono>
#include <cstdint>

namespace tessera {

// Both of a clock that never goes back.
inline double SecondsNow() noexcept {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
inline int64_t NanosecondsNow() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace tessera
