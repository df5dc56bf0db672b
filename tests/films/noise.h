// Bytes without a pattern, the same in every run.
#pragma once
#include <cstdint>
#include <vector>

namespace tessera {

inline std::vector<uint8_t> Noise(size_t count, uint32_t below) {
  std::vector<uint8_t> bytes(count);
  uint32_t state = 12345;
  for (uint8_t& byte : bytes) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<uint8_t>((state >> 16) % below);
  }
  return bytes;
}

}  // namespace tessera
