// Counts operator new, which this test program replaces.
#pragma once
#include <cstdint>

namespace tessera {

int64_t AllocationsOfThisThread() noexcept;

}  // namespace tessera
