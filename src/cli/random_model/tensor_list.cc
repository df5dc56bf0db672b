#include "cli/random_model/tensor_list.h"

#include <utility>

namespace tessera {

int64_t CountElements(std::span<const TensorSpec> tensors) {
  int64_t count = 0;
  for (const TensorSpec& spec : tensors) count += spec.shape.numel();
  return count;
}

std::string Numbered(const std::string& name, int64_t index) { return name + "." + std::to_string(index); }

void TensorList::Weight(const std::string& name, const Shape& shape) { tensors_.push_back({name + ".weight", shape}); }

void TensorList::Scale(const std::string& name, int64_t size) {
  tensors_.push_back({name + ".weight", {size}, TensorKind::kScale});
}

void TensorList::Affine(const std::string& name, int64_t size) {
  Scale(name, size);
  Bias(name, size);
}

void TensorList::Linear(const std::string& name, int64_t outputs, int64_t inputs) {
  Weight(name, {outputs, inputs});
  Bias(name, outputs);
}

void TensorList::Convolution(const std::string& name, const Shape& shape) {
  Weight(name, shape);
  Bias(name, shape[0]);
}

void TensorList::Add(std::string name, const Shape& shape, TensorKind kind) {
  tensors_.push_back({std::move(name), shape, kind});
}

std::vector<TensorSpec> TensorList::Take() { return std::move(tensors_); }

void TensorList::Bias(const std::string& name, int64_t size) {
  tensors_.push_back({name + ".bias", {size}, TensorKind::kOffset});
}

}  // namespace tessera
