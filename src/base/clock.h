// Time for measuring what things take.
#pragma once
#include <chrono>

namespace tessera {

// Of a clock that never goes back.
inline double SecondsNow() noexcept {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace tessera
