// What a dying process can still tell its user.
#pragma once
#include <string_view>

namespace tessera {

// Stands behind "interrupted; ..." from now on; "": nothing. Longer texts than 1000 bytes are cut. One thread sets it.
void SetInterruptAdvice(std::string_view advice) noexcept;

// Ends with NUL; for a signal handler.
const char* InterruptAdvice() noexcept;

}  // namespace tessera
