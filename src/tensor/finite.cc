#include "tensor/finite.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "base/check.h"

namespace tessera {
namespace {

template <class Value>
bool AllOf(const Tensor& tensor) noexcept {
  const Value* const values = tensor.data<Value>();
  return std::all_of(values, values + tensor.numel(), [](Value value) {
    if constexpr (std::is_same_v<Value, double>) {
      return std::isfinite(value);
    } else {
      return std::isfinite(ToFloat(value));
    }
  });
}

}  // namespace

bool AllFinite(const Tensor& tensor) noexcept {
  switch (tensor.dtype()) {
    case DType::kF64:
      return AllOf<double>(tensor);
    case DType::kF32:
      return AllOf<float>(tensor);
    case DType::kBF16:
      return AllOf<BFloat16>(tensor);
    default:
      TESSERA_CHECK(tensor.dtype() == DType::kF16);
      return AllOf<Float16>(tensor);
  }
}

}  // namespace tessera
