// Sinusoidal timestep features and their two-layer perceptron (diffusers' Timesteps + TimestepEmbedding).
#pragma once
#include <string>

#include "layers/linear.h"

namespace tessera {

// [1, width] f32: cosines of t * exp(-ln(10000) * i / (width/2)) first, then sines.
Tensor TimestepFeatures(float timestep, int64_t width);

// linear_1 -> SiLU -> linear_2 under `<prefix>.linear_1` and `.linear_2`.
class TimestepEmbedding {
 public:
  TimestepEmbedding() = default;
  TimestepEmbedding(WeightMap& weights, const std::string& prefix, const LinearShape& first, int64_t out_features);
  // Result [1, out] f32; `compute` is the type the features are rounded to.
  Tensor Forward(float timestep, DType compute, Workspace& workspace) const noexcept;

 private:
  Linear linear_1_, linear_2_;
};

}  // namespace tessera
