// Convolutional networks as straight-line programs over channels-last features: one description gives the tensors to
// load, the memory layout, the cost and the run.
#pragma once
#include <string>
#include <vector>

#include "kernels/convolution/convolution.h"
#include "kernels/elementwise/elementwise.h"
#include "models/forward_context.h"
#include "weights/weight_map.h"

namespace tessera {

using Feature = int;  // a buffer [1, height, width, channels] of a program

struct ProgramStep {
  enum class Kind { kConvolve, kNorm, kUpsample, kAdd, kProject, kAttend };
  Kind kind = Kind::kAdd;
  Feature src = -1, dst = -1;
  Feature k = -1, v = -1;                     // kAttend; src holds the queries
  std::string prefix{};                       // of the step's tensors
  ConvolutionShape shape{};                   // kConvolve
  Activation activation = Activation::kNone;  // kNorm
};

// Where every feature lies while a program runs on one size: features that are alive at the same time do not overlap.
struct ProgramLayout {
  std::vector<Shape> shapes;
  std::vector<size_t> offsets;
  size_t bytes = 0;
};

struct NamedShape {
  std::string name;
  Shape shape;
};

class ConvolutionProgram {
 public:
  ConvolutionProgram(int64_t input_channels, int64_t norm_groups, float norm_eps);

  // Builders return the new feature. Weights are `<prefix>.weight` and `<prefix>.bias`.
  Feature input() const noexcept { return 0; }
  Feature Convolve(Feature src, const std::string& prefix, const ConvolutionShape& shape);
  Feature Norm(Feature src, const std::string& prefix, Activation activation);
  void NormInPlace(Feature feature, const std::string& prefix, Activation activation);
  Feature Upsample(Feature src);
  Feature Project(Feature src, const std::string& prefix);  // a square linear layer per position
  Feature Attend(Feature q, Feature k, Feature v);          // one head over all positions
  void AddTo(Feature dst, Feature src);                     // dst += src

  const std::vector<ProgramStep>& steps() const noexcept { return steps_; }
  Feature output() const noexcept { return steps_.back().dst; }
  int64_t channels(Feature feature) const noexcept { return channels_[static_cast<size_t>(feature)]; }
  GroupNormShape NormShape(Activation activation) const noexcept { return {norm_groups_, norm_eps_, activation}; }

  std::vector<NamedShape> Weights() const;
  // The input belongs to the caller: it has a shape, but no place.
  ProgramLayout LayOut(const Shape& input, DType compute) const;
  AttentionProblem ProblemOf(const ProgramStep& step, const ProgramLayout& layout, DType compute) const;
  Cost CostOf(const Shape& input, DType compute) const;

 private:
  Feature Emit(ProgramStep step, int64_t channels);
  Shape ResultShape(const ProgramStep& step, const Shape& src) const noexcept;

  std::vector<ProgramStep> steps_;
  std::vector<int64_t> channels_;
  int64_t norm_groups_;
  float norm_eps_;
};

}  // namespace tessera
