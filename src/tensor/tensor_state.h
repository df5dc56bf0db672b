// Tensors by name: what a part of a running job needs to go on later, on its way to a file and back.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace tessera {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// Parts of parts are named "part.name". Tensors are views of what they were added from: a state is written or copied
// before its owner goes on.
class TensorState {
 public:
  TensorState() = default;
  explicit TensorState(NamedTensors tensors) : tensors_(std::move(tensors)) {}

  // For owners that keep none: throws Error{kFormat} when there is some. `owner` has its article: "a scheduler".
  void RequireEmpty(std::string_view owner, std::string_view name) const;
  bool empty() const noexcept { return tensors_.empty(); }
  size_t size() const noexcept { return tensors_.size(); }
  const NamedTensors& tensors() const noexcept { return tensors_; }

  void Add(std::string name, Tensor tensor);  // contiguous; a name that is new
  void AddPart(std::string_view part, const TensorState& state);
  void AddNumber(std::string name, int64_t number);

  TensorState Part(std::string_view part) const;
  bool Contains(std::string_view name) const noexcept;
  // Throw Error{kFormat} for a tensor that is missing or of another shape or type.
  const Tensor& Get(std::string_view name) const;
  const Tensor& Get(std::string_view name, const Shape& shape, DType dtype) const;
  int64_t Number(std::string_view name, int64_t least, int64_t most) const;

 private:
  NamedTensors tensors_;
};

}  // namespace tessera
