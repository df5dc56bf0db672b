// Raw memory: aligned allocations and read-only mapped files.
#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace tessera {

// 64-byte aligned (2 MiB aligned with huge pages requested when large). Throws Error{kMemory}.
std::shared_ptr<std::byte> AllocateAligned(size_t bytes);

// A whole file mapped read-only; the mapping lives as long as the returned pointer. Throws Error{kIo}.
struct MappedFile {
  std::shared_ptr<const std::byte> bytes;  // shared by the tensors that lie in the file
  size_t size = 0;
};
MappedFile MapFile(const std::filesystem::path& path);

// Advises the kernel that the pages of this range are no longer needed (weights that have been used).
void DropPages(std::span<const std::byte> range) noexcept;

}  // namespace tessera
