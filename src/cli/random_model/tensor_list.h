// Names and shapes of every tensor of a FLUX.2 klein checkpoint, in diffusers' and transformers' naming.
#pragma once
#include <string>
#include <vector>

#include "cli/random_model/klein_size.h"
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
};

std::vector<TensorSpec> TransformerTensors(const KleinSize& size);  // Flux2Transformer2DModel
std::vector<TensorSpec> TextEncoderTensors(const KleinSize& size);  // Qwen3ForCausalLM
std::vector<TensorSpec> AutoencoderTensors(const KleinSize& size);  // AutoencoderKLFlux2

}  // namespace tessera
