// A convolutional program with its weights.
#pragma once
#include <vector>

#include "layers/linear.h"
#include "models/convolution_program.h"

namespace tessera {

class ConvolutionNetwork {
 public:
  // Takes the program's tensors. `component` names the attention sites. Throws Error{kFormat, kUnsupported}.
  ConvolutionNetwork(ConvolutionProgram program, WeightMap& weights, DType compute, std::string component);

  // input [1, h, w, channels] of the compute type; the result lies in the workspace until the caller's scope ends.
  Tensor Run(const Tensor& input, ForwardContext& context) const noexcept;

  // The attention calls of one run. Layers count the program's attention steps.
  static std::vector<SiteProblem> Sites(const ConvolutionProgram& program, const Shape& input, DType compute,
                                        const std::string& component);

 private:
  struct Layer {
    Convolution convolution;
    Linear linear;
    Tensor norm_weight, norm_bias;
    int attention = 0;
  };
  struct Frame;  // the features of one run
  void RunStep(size_t index, Frame& frame) const noexcept;
  void Attend(size_t index, Frame& frame) const noexcept;

  ConvolutionProgram program_;
  std::vector<Layer> layers_;  // one per step
  DType compute_;
  std::string component_;
};

}  // namespace tessera
