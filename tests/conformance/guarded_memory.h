// Memory with an inaccessible page on either side: a read or write beyond its ends stops the program.
#pragma once
#include <cstddef>
#include <memory>
#include <span>

namespace tessera {

class GuardedMemory {
 public:
  // `size` bytes that end right before the upper guard, or up to `alignment` - 1 bytes earlier.
  explicit GuardedMemory(size_t size, size_t alignment = 1);
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  std::byte* begin() const noexcept { return begin_; }
  std::span<std::byte> bytes() const noexcept { return {begin_, size_}; }
  // Every byte 0xFF: NaN in all float types.
  void Poison() noexcept;

 private:
  void* mapping_ = nullptr;
  size_t mapped_ = 0;
  std::byte* begin_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tessera
