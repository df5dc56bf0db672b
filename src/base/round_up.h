// Sizes rounded up to whole steps.
#pragma once
#include <cstddef>
#include <cstdint>

namespace tessera {

constexpr int64_t RoundUp(int64_t value, int64_t step) noexcept { return (value + step - 1) / step * step; }

// Up to whole 64 bytes, where every part of a workspace begins.
constexpr size_t Aligned(size_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

}  // namespace tessera
