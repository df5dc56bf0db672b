#include "tensor/dtype.h"

#include <array>
#include <cmath>
#include <string>

#include "base/text.h"

namespace tessera {
namespace {

struct DTypeRow {
  std::string_view name;
  size_t bytes;
};
constexpr std::array<DTypeRow, 12> kRows = {{{"f64", 8},
                                             {"f32", 4},
                                             {"bf16", 2},
                                             {"f16", 2},
                                             {"f8_e4m3", 1},
                                             {"f8_e5m2", 1},
                                             {"i64", 8},
                                             {"i32", 4},
                                             {"i16", 2},
                                             {"i8", 1},
                                             {"u8", 1},
                                             {"bool", 1}}};

}  // namespace

size_t SizeOf(DType dtype) noexcept { return kRows[static_cast<size_t>(dtype)].bytes; }
std::string_view Name(DType dtype) noexcept { return kRows[static_cast<size_t>(dtype)].name; }

std::optional<DType> ParseDType(std::string_view name) noexcept {
  const std::string lower = Lower(name);
  if (lower == "fp32" || lower == "float32") return DType::kF32;
  if (lower == "fp16" || lower == "float16") return DType::kF16;
  if (lower == "bfloat16") return DType::kBF16;
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].name == lower) return static_cast<DType>(i);
  }
  return std::nullopt;
}

float ToFloat(Float16 value) noexcept {
  const int exponent = (value.bits >> 10) & 31;
  const int mantissa = value.bits & 1023;
  float magnitude;
  if (exponent == 31) {
    magnitude = mantissa == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(mantissa), -24);
  } else {
    magnitude = std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  }
  return (value.bits & 0x8000) ? -magnitude : magnitude;
}

Float16 ToFloat16(float value) noexcept {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  bits &= 0x7FFFFFFFu;
  if (bits > 0x7F800000u) return {static_cast<uint16_t>(sign | 0x7E00u)};
  if (bits >= 0x477FF000u) return {static_cast<uint16_t>(sign | 0x7C00u)};  // rounds beyond 65504
  if (bits < 0x38800000u) {  // subnormal in f16: let the FPU round at the right place
    float magnitude;
    std::memcpy(&magnitude, &bits, sizeof bits);
    magnitude += 0.5f;
    uint32_t rounded;
    std::memcpy(&rounded, &magnitude, sizeof rounded);
    return {static_cast<uint16_t>(sign | (rounded - 0x3F000000u))};
  }
  const uint32_t odd = (bits >> 13) & 1u;
  return {static_cast<uint16_t>(sign | ((bits + 0xC8000FFFu + odd) >> 13))};
}

}  // namespace tessera
