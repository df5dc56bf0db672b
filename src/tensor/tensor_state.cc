#include "tensor/tensor_state.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/text.h"

namespace tessera {

void TensorState::RequireEmpty(std::string_view owner, std::string_view name) const {
  if (empty()) return;
  throw Error(ErrorKind::kFormat, fmt::format("has {}'s memory, but this {} keeps none", owner, name));
}

void TensorState::Add(std::string name, Tensor tensor) {
  TESSERA_CHECK(tensor.contiguous() && !Contains(name));
  tensors_.emplace_back(std::move(name), std::move(tensor));
}

void TensorState::AddPart(std::string_view part, const TensorState& state) {
  for (const auto& [name, tensor] : state.tensors_) tensors_.emplace_back(fmt::format("{}.{}", part, name), tensor);
}

void TensorState::AddNumber(std::string name, int64_t number) {
  Tensor tensor = Tensor::Empty({1}, DType::kI64);
  tensor.mutable_data<int64_t>()[0] = number;
  Add(std::move(name), std::move(tensor));
}

TensorState TensorState::Part(std::string_view part) const {
  const std::string prefix = std::string(part) + ".";
  TensorState state;
  for (const auto& [name, tensor] : tensors_) {
    if (name.starts_with(prefix)) state.tensors_.emplace_back(name.substr(prefix.size()), tensor);
  }
  return state;
}

bool TensorState::Contains(std::string_view name) const noexcept {
  return std::any_of(tensors_.begin(), tensors_.end(), [&](const auto& named) { return named.first == name; });
}

const Tensor& TensorState::Get(std::string_view name) const {
  for (const auto& [known, tensor] : tensors_) {
    if (known == name) return tensor;
  }
  throw Error(ErrorKind::kFormat, fmt::format("no tensor '{}'", Printable(name)));
}

const Tensor& TensorState::Get(std::string_view name, const Shape& shape, DType dtype) const {
  const Tensor& tensor = Get(name);
  if (tensor.shape() == shape && tensor.dtype() == dtype) return tensor;
  throw Error(ErrorKind::kFormat, fmt::format("tensor '{}' is {} {}, not {} {}", Printable(name), Name(tensor.dtype()),
                                              tensor.shape().ToString(), Name(dtype), shape.ToString()));
}

int64_t TensorState::Number(std::string_view name, int64_t least, int64_t most) const {
  const int64_t number = Get(name, {1}, DType::kI64).data<int64_t>()[0];
  if (number >= least && number <= most) return number;
  throw Error(ErrorKind::kFormat,
              fmt::format("'{}' is {}; {} to {} are possible", Printable(name), number, least, most));
}

}  // namespace tessera
