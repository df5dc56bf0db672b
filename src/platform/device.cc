#include "platform/device.h"

#include <array>

#include "base/text.h"

namespace tessera {
namespace {
constexpr std::array<std::string_view, 4> kIsaNames = {"scalar", "avx2", "avx512", "avx512_bf16"};
constexpr std::array<std::string_view, 5> kDeviceNames = {"cpu", "cuda", "rocm", "mps", "npu"};
}  // namespace

std::string_view Name(DeviceKind kind) noexcept { return kDeviceNames[static_cast<size_t>(kind)]; }
std::string_view Name(Isa isa) noexcept { return kIsaNames[static_cast<size_t>(isa)]; }

std::optional<Isa> ParseIsa(std::string_view name) noexcept {
  for (size_t i = 0; i < kIsaNames.size(); ++i) {
    if (kIsaNames[i] == Lower(name)) return static_cast<Isa>(i);
  }
  return std::nullopt;
}

}  // namespace tessera
