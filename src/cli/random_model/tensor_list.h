// Names and shapes of the tensors of a checkpoint.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/shape.h"

namespace tessera {

// How a random tensor is drawn so that activations keep their size from layer to layer.
enum class TensorKind {
  kWeight,   // normal, variance 1 / inputs of the layer
  kScale,    // 1 + 0.1 normal: norm weights and running variances
  kOffset,   // 0.1 normal: biases and running means
  kCounter,  // an i64 zero
};

struct TensorSpec {
  std::string name;
  Shape shape;
  TensorKind kind = TensorKind::kWeight;
  uint64_t stream = 0;  // tensors of one name in two folders differ by it
};

int64_t CountElements(std::span<const TensorSpec> tensors);

// "blocks.3"
std::string Numbered(const std::string& name, int64_t index);

// Collects tensors, layer by layer, under the names that PyTorch gives them.
class TensorList {
 public:
  void Weight(const std::string& name, const Shape& shape);
  void Scale(const std::string& name, int64_t size);                      // RMSNorm: weight
  void Affine(const std::string& name, int64_t size);                     // LayerNorm, GroupNorm
  void Linear(const std::string& name, int64_t outputs, int64_t inputs);  // with bias
  void Convolution(const std::string& name, const Shape& shape);          // with bias
  void Add(std::string name, const Shape& shape, TensorKind kind);        // under the whole name
  std::vector<TensorSpec> Take();

 private:
  void Bias(const std::string& name, int64_t size);

  std::vector<TensorSpec> tensors_;
};

}  // namespace tessera
