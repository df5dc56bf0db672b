// The memory of this process that lies in RAM.
#pragma once
#include <cstddef>

namespace tessera {

// Mapped files count as far as their pages were read. Cheap enough for a loop: one read of a kernel file.
size_t ResidentBytes() noexcept;
size_t PeakResidentBytes() noexcept;

}  // namespace tessera
