// 2-D convolutions through oneDNN on channels-last activations [batch, height, width, channels].
#pragma once
#include <memory>

#include "tensor/tensor.h"
#include "tensor/workspace.h"

namespace tessera {

struct ConvolutionShape {
  int64_t in_channels = 0, out_channels = 0;
  int64_t kernel = 3;
  int64_t stride = 1;
  int64_t pad_begin = 1, pad_end = 1;  // zeros around height and width
};

// Weight as in checkpoints [out, in, kh, kw] (f32 or bf16), reordered once when loading; bias f32 [out].
class Convolution {
 public:
  Convolution() = default;
  // `compute`: the activations' type, f32 or bf16 (bf16 inputs are widened where bf16 dot products do not pay).
  Convolution(const Tensor& weight, const Tensor& bias, const ConvolutionShape& shape, DType compute)
      : Convolution(weight, bias, shape, {compute, compute}) {}
  // src and dst may differ in type: bf16 to f32.
  struct Types {
    DType src = DType::kF32, dst = DType::kF32;
  };
  Convolution(const Tensor& weight, const Tensor& bias, const ConvolutionShape& shape, Types types);

  // What becomes of dst: the result with the bias, dst plus the result with or without the bias (f32 only).
  enum class Into { kStore, kAddWithBias, kAdd };
  // src [n, h, w, in] -> dst [n, h', w', out], contiguous.
  void Forward(const Tensor& src, Tensor& dst, Workspace& workspace, Into into = Into::kStore) const noexcept;
  Shape OutputShape(const Shape& src) const noexcept;
  size_t WorkspaceBytes(const Shape& src) const noexcept;
  // The same without weights, for planning.
  static size_t WorkspaceBytes(const ConvolutionShape& shape, const Shape& src, DType compute) noexcept {
    return WorkspaceBytes(shape, src, Types{compute, compute});
  }
  static size_t WorkspaceBytes(const ConvolutionShape& shape, const Shape& src, Types types) noexcept;

 private:
  struct State;
  std::shared_ptr<const State> state_;  // shared by copies of the layer
};

}  // namespace tessera
