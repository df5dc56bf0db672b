#include "weights/safetensors_dtype.h"

#include <array>
#include <utility>

#include "base/check.h"

namespace tessera {
namespace {

using enum DType;
constexpr std::array<std::pair<DType, std::string_view>, 12> kNames{{{kF64, "F64"},
                                                                     {kF32, "F32"},
                                                                     {kBF16, "BF16"},
                                                                     {kF16, "F16"},
                                                                     {kF8E4M3, "F8_E4M3"},
                                                                     {kF8E5M2, "F8_E5M2"},
                                                                     {kI64, "I64"},
                                                                     {kI32, "I32"},
                                                                     {kI16, "I16"},
                                                                     {kI8, "I8"},
                                                                     {kU8, "U8"},
                                                                     {kBool, "BOOL"}}};

}  // namespace

std::optional<DType> ParseSafetensorsDType(std::string_view name) noexcept {
  for (const auto& [dtype, known] : kNames) {
    if (known == name) return dtype;
  }
  return std::nullopt;
}

std::string_view SafetensorsName(DType dtype) noexcept {
  for (const auto& [known, name] : kNames) {
    if (known == dtype) return name;
  }
  TESSERA_CHECK(!"an element type with a name");
  return "";
}

std::vector<std::string> SafetensorsDTypeNames() {
  std::vector<std::string> names;
  for (const auto& [dtype, name] : kNames) names.emplace_back(name);
  return names;
}

}  // namespace tessera
