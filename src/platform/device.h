// What a device is and can do: plain values that rules compare with a backend's needs.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tessera {

enum class DeviceKind { kCpu, kCuda, kRocm, kMps, kNpu };
std::string_view Name(DeviceKind kind) noexcept;

// Instruction sets of an x86 CPU, each including those before it.
enum class Isa : uint8_t { kScalar, kAvx2, kAvx512, kAvx512Bf16 };
std::string_view Name(Isa isa) noexcept;  // "scalar", "avx2", "avx512", "avx512_bf16"
std::optional<Isa> ParseIsa(std::string_view name) noexcept;

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  std::string name;            // "Intel(R) Xeon(R) Processor"
  Isa isa = Isa::kScalar;      // the instruction set in use: at most what the machine has
  bool bf16_dot_pays = false;  // bf16 dot products are faster here than f32 multiply-adds
  int threads = 1;
  size_t memory_bytes = 0;  // what this process may use (the smaller of the machine's and the cgroup's)
};

}  // namespace tessera
