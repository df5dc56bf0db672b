#include "layers/timestep_embedding.h"

#include <cmath>

#include "kernels/elementwise/elementwise.h"

namespace tessera {
namespace {

// exp of x <= 0 as torch's vector code has it (SLEEF's expf with 1 ulp): its last bit is visible in features of
// timesteps in the thousands.
float VectorExp(float x) noexcept {
  constexpr float kCoefficients[] = {0.00139304355252534151f, 0.00833336077630519867f, 0.0416664853692054749f,
                                     0.166666671633720398f, 0.5f};
  const float power = std::nearbyint(x * 1.442695040888963407f);
  const float rest = std::fma(power, -1.428606765330187045e-06f, std::fma(power, -0.693145751953125f, x));
  float polynomial = 0.000198527617612853646f;
  for (const float coefficient : kCoefficients) polynomial = std::fma(polynomial, rest, coefficient);
  return std::ldexp(1.0f + std::fma(rest * rest, polynomial, rest), static_cast<int>(power));
}

}  // namespace

Tensor TimestepFeatures(float timestep, int64_t width) {
  Tensor features = Tensor::Empty({1, width}, DType::kF32);
  float* values = features.mutable_data<float>();
  const int64_t half = width / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float exponent = -std::log(10000.0f) * static_cast<float>(i) / static_cast<float>(half);
    const float angle = timestep * VectorExp(exponent);
    values[i] = std::cos(angle);
    values[half + i] = std::sin(angle);
  }
  return features;
}

TimestepEmbedding::TimestepEmbedding(WeightMap& weights, const std::string& prefix, const LinearShape& first,
                                     int64_t out_features)
    : linear_1_(weights, prefix + ".linear_1", first),
      linear_2_(weights, prefix + ".linear_2", {first.out_features, out_features, first.bias}) {}

Tensor TimestepEmbedding::Forward(float timestep, DType compute, Workspace& workspace) const noexcept {
  Tensor embedding = workspace.Take({1, linear_2_.out_features()}, DType::kF32);
  const Workspace::Scope scope(workspace);
  const Tensor features = TimestepFeatures(timestep, linear_1_.in_features()).To(compute);
  Tensor inner = linear_1_.Forward(features, DType::kF32, workspace);
  Silu(inner, inner);
  linear_2_.Forward(inner, embedding, workspace);
  return embedding;
}

}  // namespace tessera
