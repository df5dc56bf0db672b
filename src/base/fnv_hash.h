// FNV-1a over 64 bits: tells texts and files apart, not adversaries.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace tessera {

class FnvHash {
 public:
  void Add(std::span<const std::byte> bytes) noexcept {
    for (const std::byte byte : bytes) value_ = (value_ ^ static_cast<uint64_t>(byte)) * 1099511628211ull;
  }
  uint64_t value() const noexcept { return value_; }

 private:
  uint64_t value_ = 1469598103934665603ull;
};

}  // namespace tessera
