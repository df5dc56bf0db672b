#include "models/convolution_network.h"

#include <optional>

#include <fmt/format.h>

#include "base/error.h"
#include "layers/trace_labels.h"

namespace tessera {
namespace {

using Kind = ProgramStep::Kind;

// f32 and bf16 are used as they lie in the file.
Tensor TakeConvolutionWeight(WeightMap& weights, const std::string& name, const Shape& shape) {
  const Tensor weight = weights.Take(name, shape);
  if (weight.dtype() == DType::kF32 || weight.dtype() == DType::kBF16) return weight;
  if (weight.dtype() == DType::kF16) return weight.To(DType::kF32);
  throw Error(ErrorKind::kUnsupported, fmt::format("{}: tensor {} is {}; supported: f32, bf16, f16", weights.name(),
                                                   name, Name(weight.dtype())));
}

// What a trace shows of a step here; the others record themselves.
std::optional<TraceKind> RowsKind(Kind kind) noexcept {
  switch (kind) {
    case Kind::kNorm:
      return TraceKind::kNorm;
    case Kind::kUpsample:
    case Kind::kAdd:
      return TraceKind::kElementwise;
    case Kind::kConvolve:
    case Kind::kProject:
    case Kind::kAttend:
      return std::nullopt;
  }
  return std::nullopt;
}

AttentionSite SiteOf(const std::string& component, int layer) { return {component, AttentionRole::kVae, layer}; }

}  // namespace

ConvolutionNetwork::ConvolutionNetwork(ConvolutionProgram program, WeightMap& weights, DType compute,
                                       std::string component)
    : program_(std::move(program)), compute_(compute), component_(std::move(component)) {
  int attentions = 0;
  for (const ProgramStep& step : program_.steps()) {
    Layer layer;
    const int64_t channels = program_.channels(step.dst);
    if (step.kind == Kind::kConvolve) {
      const ConvolutionShape& shape = step.shape;
      const Tensor weight = TakeConvolutionWeight(weights, step.prefix + ".weight",
                                                  {channels, shape.in_channels, shape.kernel, shape.kernel});
      layer.convolution = Convolution(weight, weights.TakeF32(step.prefix + ".bias", {channels}), shape, compute);
    } else if (step.kind == Kind::kNorm) {
      layer.norm_weight = weights.TakeF32(step.prefix + ".weight", {channels});
      layer.norm_bias = weights.TakeF32(step.prefix + ".bias", {channels});
    } else if (step.kind == Kind::kProject) {
      layer.linear = Linear(weights, step.prefix, {channels, channels, LinearShape::Bias::kRequired});
    } else if (step.kind == Kind::kAttend) {
      layer.attention = attentions++;
    }
    layers_.push_back(std::move(layer));
  }
}

struct ConvolutionNetwork::Frame {
  const ProgramLayout layout;
  std::vector<Tensor> features;
  ForwardContext& context;

  Tensor& At(Feature feature) noexcept { return features[static_cast<size_t>(feature)]; }
  // [positions, channels]
  Tensor Rows(Feature feature) noexcept {
    const Tensor& tensor = At(feature);
    return tensor.Reshape({tensor.dim(1) * tensor.dim(2), tensor.dim(3)});
  }
};

Tensor ConvolutionNetwork::Run(const Tensor& input, ForwardContext& context) const noexcept {
  TESSERA_CHECK(input.dtype() == compute_ && input.dim(3) == program_.channels(program_.input()));
  Frame frame{program_.LayOut(input.shape(), compute_), {input}, context};
  auto* arena = static_cast<std::byte*>(context.workspace.TakeBytes(frame.layout.bytes));
  for (size_t i = 1; i < frame.layout.shapes.size(); ++i) {
    frame.features.push_back(Tensor::Borrow(arena + frame.layout.offsets[i], frame.layout.shapes[i], compute_));
  }
  for (size_t i = 0; i < layers_.size(); ++i) RunStep(i, frame);
  return frame.At(program_.output());
}

void ConvolutionNetwork::RunStep(size_t index, Frame& frame) const noexcept {
  const ProgramStep& step = program_.steps()[index];
  const Layer& layer = layers_[index];
  const Tensor& src = frame.At(step.src);
  Tensor& dst = frame.At(step.dst);
  const std::optional<TraceKind> kind = RowsKind(step.kind);
  const TraceScope trace(kind ? frame.context.workspace.trace() : nullptr,
                         RowsLabel(kind.value_or(TraceKind::kElementwise), dst));
  switch (step.kind) {
    case Kind::kConvolve:
      layer.convolution.Forward(src, dst, frame.context.workspace);
      break;
    case Kind::kNorm:
      GroupNorm(src, layer.norm_weight, layer.norm_bias, program_.NormShape(step.activation), dst);
      break;
    case Kind::kUpsample:
      UpsampleNearest2x(src, dst);
      break;
    case Kind::kAdd:
      Add(dst, src, dst);
      break;
    case Kind::kProject: {
      Tensor rows = frame.Rows(step.dst);
      layer.linear.Forward(frame.Rows(step.src), rows, frame.context.workspace);
      break;
    }
    case Kind::kAttend:
      Attend(index, frame);
      break;
  }
}

void ConvolutionNetwork::Attend(size_t index, Frame& frame) const noexcept {
  const ProgramStep& step = program_.steps()[index];
  const int64_t channels = program_.channels(step.dst);
  AttentionIO io;
  io.q = {frame.At(step.src).raw(), 0, channels, channels};
  io.k = {frame.At(step.k).raw(), 0, channels, channels};
  io.v = {frame.At(step.v).raw(), 0, channels, channels};
  io.out = {frame.At(step.dst).mutable_raw(), 0, channels, channels};
  frame.context.attention.Run(SiteOf(component_, layers_[index].attention),
                              program_.ProblemOf(step, frame.layout, compute_), io, frame.context.workspace);
}

std::vector<SiteProblem> ConvolutionNetwork::Sites(const ConvolutionProgram& program, const Shape& input, DType compute,
                                                   const std::string& component) {
  const ProgramLayout layout = program.LayOut(input, compute);
  std::vector<SiteProblem> sites;
  for (const ProgramStep& step : program.steps()) {
    if (step.kind != Kind::kAttend) continue;
    sites.push_back({SiteOf(component, static_cast<int>(sites.size())), program.ProblemOf(step, layout, compute)});
  }
  return sites;
}

}  // namespace tessera
