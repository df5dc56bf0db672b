// The names safetensors gives to element types.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace tessera {

std::optional<DType> ParseSafetensorsDType(std::string_view name) noexcept;
std::string_view SafetensorsName(DType dtype) noexcept;
std::vector<std::string> SafetensorsDTypeNames();

}  // namespace tessera
