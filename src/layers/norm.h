// Norm layers that own their weights.
#pragma once
#include <span>
#include <string>

#include "kernels/elementwise/elementwise.h"
#include "layers/trace_labels.h"
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
    const TraceScope trace(workspace.trace(), RowsLabel(TraceKind::kNorm, src));
    RmsNorm(src, weight_, eps_, dst);
    return dst;
  }
  const Tensor& weight() const noexcept { return weight_; }
  float eps() const noexcept { return eps_; }

 private:
  Tensor weight_;
  float eps_ = 1e-6f;
};

// LayerNorm with weight and bias.
class AffineLayerNorm {
 public:
  AffineLayerNorm() = default;
  AffineLayerNorm(WeightMap& weights, const std::string& prefix, int64_t channels, float eps)
      : scale_(weights.TakeF32(prefix + ".weight", {channels})),
        shift_(weights.TakeF32(prefix + ".bias", {channels})),
        eps_(eps) {
    for (float& weight : std::span(scale_.mutable_data<float>(), static_cast<size_t>(channels))) weight -= 1.0f;
  }
  void Forward(const Tensor& src, Tensor& dst) const noexcept { LayerNormModulate(src, scale_, shift_, eps_, dst); }
  Tensor Forward(const Tensor& src, DType dst_dtype, Workspace& workspace) const noexcept {
    Tensor dst = workspace.Take(src.shape(), dst_dtype);
    const TraceScope trace(workspace.trace(), RowsLabel(TraceKind::kNorm, src));
    Forward(src, dst);
    return dst;
  }

 private:
  Tensor scale_, shift_;  // [channels]; the weight is 1 + scale
  float eps_ = 1e-5f;
};

}  // namespace tessera
