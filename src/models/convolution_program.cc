#include "models/convolution_program.h"

#include <algorithm>
#include <numeric>

#include "base/round_up.h"
#include "models/cost_meter.h"

namespace tessera {
namespace {

struct Lifetime {
  size_t first = 0, last = 0;  // steps
  bool Overlaps(const Lifetime& other) const noexcept { return first <= other.last && other.first <= last; }
};

// A feature lives from the step that makes it to the last one that reads it; the program's output to the end.
std::vector<Lifetime> LifetimesOf(const std::vector<ProgramStep>& steps, size_t features) {
  std::vector<Lifetime> lifetimes(features);
  std::vector<char> made(features, 0);
  for (size_t i = 0; i < steps.size(); ++i) {
    for (const Feature feature : {steps[i].src, steps[i].k, steps[i].v, steps[i].dst}) {
      if (feature < 0) continue;
      const auto at = static_cast<size_t>(feature);
      if (made[at] == 0) lifetimes[at].first = i;
      made[at] = 1;
      lifetimes[at].last = i;
    }
  }
  lifetimes[static_cast<size_t>(steps.back().dst)].last = steps.size();
  return lifetimes;
}

size_t AlignedBytes(const Shape& shape, DType dtype) noexcept {
  return Aligned(static_cast<size_t>(shape.numel()) * SizeOf(dtype));
}

// Largest first, each at the lowest place that is free during its whole life.
class Placement {
 public:
  Placement(const std::vector<Lifetime>& lifetimes, const std::vector<size_t>& sizes)
      : lifetimes_(lifetimes), sizes_(sizes), offsets_(sizes.size(), 0) {
    std::vector<size_t> order(sizes.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::greater<>(), [&](size_t i) { return sizes[i]; });
    for (const size_t i : order) Place(i);
  }
  const std::vector<size_t>& offsets() const noexcept { return offsets_; }
  size_t bytes() const noexcept { return bytes_; }

 private:
  void Place(size_t index) {
    size_t offset = 0;
    for (const size_t other : placed_) {  // ascending offsets
      if (!lifetimes_[index].Overlaps(lifetimes_[other])) continue;
      if (offset + sizes_[index] <= offsets_[other]) break;
      offset = std::max(offset, offsets_[other] + sizes_[other]);
    }
    offsets_[index] = offset;
    bytes_ = std::max(bytes_, offset + sizes_[index]);
    const auto at = std::ranges::upper_bound(placed_, offset, {}, [&](size_t i) { return offsets_[i]; });
    placed_.insert(at, index);
  }

  const std::vector<Lifetime>& lifetimes_;
  const std::vector<size_t>& sizes_;
  std::vector<size_t> offsets_, placed_;
  size_t bytes_ = 0;
};

}  // namespace

ConvolutionProgram::ConvolutionProgram(int64_t input_channels, int64_t norm_groups, float norm_eps)
    : channels_{input_channels}, norm_groups_(norm_groups), norm_eps_(norm_eps) {}

Feature ConvolutionProgram::Emit(ProgramStep step, int64_t channels) {
  step.dst = static_cast<Feature>(channels_.size());
  channels_.push_back(channels);
  steps_.push_back(std::move(step));
  return steps_.back().dst;
}

Feature ConvolutionProgram::Convolve(Feature src, const std::string& prefix, const ConvolutionShape& shape) {
  TESSERA_CHECK(shape.in_channels == channels(src));
  return Emit({.kind = ProgramStep::Kind::kConvolve, .src = src, .prefix = prefix, .shape = shape}, shape.out_channels);
}

Feature ConvolutionProgram::Norm(Feature src, const std::string& prefix, Activation activation) {
  return Emit({.kind = ProgramStep::Kind::kNorm, .src = src, .prefix = prefix, .activation = activation},
              channels(src));
}

void ConvolutionProgram::NormInPlace(Feature feature, const std::string& prefix, Activation activation) {
  steps_.push_back(
      {.kind = ProgramStep::Kind::kNorm, .src = feature, .dst = feature, .prefix = prefix, .activation = activation});
}

Feature ConvolutionProgram::Upsample(Feature src) {
  return Emit({.kind = ProgramStep::Kind::kUpsample, .src = src}, channels(src));
}

Feature ConvolutionProgram::Project(Feature src, const std::string& prefix) {
  return Emit({.kind = ProgramStep::Kind::kProject, .src = src, .prefix = prefix}, channels(src));
}

Feature ConvolutionProgram::Attend(Feature q, Feature k, Feature v) {
  return Emit({.kind = ProgramStep::Kind::kAttend, .src = q, .k = k, .v = v}, channels(q));
}

void ConvolutionProgram::AddTo(Feature dst, Feature src) {
  TESSERA_CHECK(channels(dst) == channels(src));
  steps_.push_back({.kind = ProgramStep::Kind::kAdd, .src = src, .dst = dst});
}

std::vector<NamedShape> ConvolutionProgram::Weights() const {
  std::vector<NamedShape> weights;
  for (const ProgramStep& step : steps_) {
    if (step.prefix.empty()) continue;
    const int64_t width = channels(step.dst);
    Shape shape{width};
    if (step.kind == ProgramStep::Kind::kProject) shape = {width, width};
    if (step.kind == ProgramStep::Kind::kConvolve) {
      shape = {width, step.shape.in_channels, step.shape.kernel, step.shape.kernel};
    }
    weights.push_back({step.prefix + ".weight", shape});
    weights.push_back({step.prefix + ".bias", {width}});
  }
  return weights;
}

Shape ConvolutionProgram::ResultShape(const ProgramStep& step, const Shape& src) const noexcept {
  Shape result = src;
  result[3] = channels(step.dst);
  for (const int axis : {1, 2}) {
    if (step.kind == ProgramStep::Kind::kUpsample) result[axis] = 2 * src[axis];
    if (step.kind != ProgramStep::Kind::kConvolve) continue;
    const ConvolutionShape& shape = step.shape;
    result[axis] = (src[axis] + shape.pad_begin + shape.pad_end - shape.kernel) / shape.stride + 1;
  }
  return result;
}

ProgramLayout ConvolutionProgram::LayOut(const Shape& input, DType compute) const {
  ProgramLayout layout;
  layout.shapes.resize(channels_.size());
  layout.shapes[0] = input;
  for (const ProgramStep& step : steps_) {
    layout.shapes[static_cast<size_t>(step.dst)] = ResultShape(step, layout.shapes[static_cast<size_t>(step.src)]);
  }
  std::vector<size_t> sizes;
  for (const Shape& shape : layout.shapes) sizes.push_back(AlignedBytes(shape, compute));
  sizes[0] = 0;
  const std::vector<Lifetime> lifetimes = LifetimesOf(steps_, channels_.size());
  const Placement placement(lifetimes, sizes);
  layout.offsets = placement.offsets();
  layout.bytes = placement.bytes();
  return layout;
}

AttentionProblem ConvolutionProgram::ProblemOf(const ProgramStep& step, const ProgramLayout& layout,
                                               DType compute) const {
  const Shape& shape = layout.shapes[static_cast<size_t>(step.src)];
  AttentionProblem problem;
  problem.dtype = compute;
  problem.head_dim = static_cast<int>(shape[3]);
  problem.q_len = problem.kv_len = shape[1] * shape[2];
  problem.role = AttentionRole::kVae;
  return problem;
}

Cost ConvolutionProgram::CostOf(const Shape& input, DType compute) const {
  const ProgramLayout layout = LayOut(input, compute);
  CostMeter meter;
  meter.TakeBytes(layout.bytes);
  for (const ProgramStep& step : steps_) {
    const Shape& src = layout.shapes[static_cast<size_t>(step.src)];
    const Shape& dst = layout.shapes[static_cast<size_t>(step.dst)];
    if (step.kind == ProgramStep::Kind::kConvolve) {
      const auto products = static_cast<double>(dst.numel()) *
                            static_cast<double>(step.shape.in_channels * step.shape.kernel * step.shape.kernel);
      meter.Convolution(2 * products, Convolution::WorkspaceBytes(step.shape, src, compute));
    }
    if (step.kind == ProgramStep::Kind::kProject) meter.Linear(src[1] * src[2], src[3], dst[3], compute);
    if (step.kind == ProgramStep::Kind::kAttend) meter.Attention(ProblemOf(step, layout, compute));
  }
  return meter.cost();
}

}  // namespace tessera
