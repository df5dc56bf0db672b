// Element types of tensors and their conversions to and from float.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace tessera {

enum class DType : uint8_t { kF64, kF32, kBF16, kF16, kF8E4M3, kF8E5M2, kI64, kI32, kI16, kI8, kU8, kBool };

size_t SizeOf(DType dtype) noexcept;
std::string_view Name(DType dtype) noexcept;  // "f32", "bf16", ...
std::optional<DType> ParseDType(
    std::string_view name) noexcept;  // accepts Name() and f32/fp32/float32, bf16/bfloat16, f16/fp16/float16

// 16-bit formats as storage types: distinct from uint16_t, no arithmetic.
struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

inline float ToFloat(float value) noexcept { return value; }
inline float ToFloat(BFloat16 value) noexcept {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}
float ToFloat(Float16 value) noexcept;

// Round to nearest even; NaN stays NaN.
inline BFloat16 ToBFloat16(float value) noexcept {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16)};
}
Float16 ToFloat16(float value) noexcept;

inline void Store(float value, float* to) noexcept { *to = value; }
inline void Store(float value, BFloat16* to) noexcept { *to = ToBFloat16(value); }
inline void Store(float value, Float16* to) noexcept { *to = ToFloat16(value); }

}  // namespace tessera
