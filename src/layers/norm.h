// Norm layers that own their weights.
#pragma once
#include <string>

#include "kernels/elementwise/elementwise.h"
#include "tensor/workspace.h"
#include "weights/weight_map.h"

namespace tessera {

class RmsNormLayer {
 public:
  RmsNormLayer() = default;
  RmsNormLayer(WeightMap& weights, const std::string& prefix, int64_t channels, float eps)
      : weight_(weights.TakeF32(prefix + ".weight", {channels})), eps_(eps) {}
  Tensor Forward(const Tensor& src, DType dst_dtype, Workspace& workspace) const noexcept {
    Tensor dst = workspace.Take(src.shape(), dst_dtype);
    RmsNorm(src, weight_, eps_, dst);
    return dst;
  }
  const Tensor& weight() const noexcept { return weight_; }
  float eps() const noexcept { return eps_; }

 private:
  Tensor weight_;
  float eps_ = 1e-6f;
};

}  // namespace tessera
