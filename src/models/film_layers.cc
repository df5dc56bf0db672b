// The layers of causal film networks that work in the plane or over three frames.
#include <algorithm>
#include <cstring>
#include <optional>

#include "kernels/elementwise/elementwise.h"
#include "layers/linear.h"
#include "models/film_network.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr float kNormEps = 1e-24f;  // the original divides by the larger of the length and 1e-12

Tensor Rows(const Tensor& frame) {
  const int64_t channels = frame.dim(frame.rank() - 1);
  return frame.Reshape({frame.numel() / channels, channels});
}

size_t Bytes(const Shape& shape, DType dtype) noexcept {
  return (static_cast<size_t>(shape.numel()) * SizeOf(dtype) + 63) / 64 * 64;
}

Shape WithChannels(const Shape& frame, int64_t channels) { return {1, frame[1], frame[2], channels}; }

double PointFlops(const Shape& frame, double in, double out, double taps) noexcept {
  return 2.0 * static_cast<double>(frame[1] * frame[2]) * in * out * taps;
}

// x * rsqrt(mean(x^2)) * gamma over the channels, then SiLU when asked.
class FilmNorm {
 public:
  FilmNorm(FilmBuilder& builder, const std::string& prefix, const Shape& gamma) {
    if (builder.weights == nullptr) return;
    gamma_ = builder.weights->TakeF32(prefix + ".gamma", gamma).Reshape({gamma[0]});
  }
  void Forward(const Tensor& src, Tensor& dst, Activation activation) const noexcept {
    Tensor rows = Rows(dst);
    RmsNorm(Rows(src), gamma_, kNormEps, rows);
    if (activation == Activation::kSilu) Silu(rows, rows);
  }

 private:
  Tensor gamma_;
};

// One plane convolution per frame of the kernel, added up.
class Taps {
 public:
  // Where the parts are added up.
  struct Sum {
    Tensor& dst;
    Workspace& workspace;
    Convolution::Into into = Convolution::Into::kStore;  // of the next part
  };

  Taps(FilmBuilder& builder, const std::string& prefix, const FilmKernel& kernel)
      : kernel_(kernel), compute_(builder.compute), ring_(builder.rings++) {
    if (builder.weights == nullptr) return;
    const Tensor weight =
        builder.weights->Take(prefix + ".weight", {kernel.out, kernel.in, kernel.frames, kernel.side, kernel.side});
    const Tensor bias = builder.weights->TakeF32(prefix + ".bias", {kernel.out});
    for (int64_t i = 0; i < kernel.frames; ++i) {
      const Tensor tap = weight.Narrow(2, i, 1).Clone().Reshape({kernel.out, kernel.in, kernel.side, kernel.side});
      taps_.emplace_back(tap, bias, PlaneShape(), Convolution::Types{compute_, DType::kF32});
    }
  }

  int64_t out() const noexcept { return kernel_.out; }
  int64_t pushed(const FilmState& state) const noexcept { return state.rings[static_cast<size_t>(ring_)].pushed(); }

  // Keeps the frame that `fill` writes, for later ones.
  void Store(FilmState& state, const FrameSink& fill) const noexcept { fill(Ring(state).Next()); }

  // dst <- (or +=) the convolution of the frame that `fill` writes and of those before it; frames before the first are
  // zeros. The new frame takes the place of the oldest, whose part is done by then.
  void Forward(FilmState& state, const FrameSink& fill, Sum sum) const noexcept {
    FrameRing& ring = Ring(state);
    if (kernel_.frames > 1) Add(ring.Ago(kernel_.frames - 2), kernel_.frames - 1, sum);
    fill(ring.Next());
    for (int64_t ago = std::max<int64_t>(0, kernel_.frames - 2); ago >= 0; --ago) Add(ring.Ago(ago), ago, sum);
  }

  // Parts that are added up over `frames` calls of Forward: the first ones have fewer.
  double Parts(double frames) const noexcept {
    const auto most = static_cast<double>(kernel_.frames);
    double parts = most * frames;
    for (double t = 1; t < most && t <= frames; ++t) parts -= most - t;
    return parts;
  }

  void Measure(FilmCost& cost, double parts) const noexcept {
    const Shape input = WithChannels(cost.frame, kernel_.in);
    const int64_t kept = std::max<int64_t>(1, kernel_.frames - 1);
    cost.rings.push_back({input, kept, compute_});
    cost.state_bytes += static_cast<size_t>(kept) * Bytes(input, compute_);
    cost.flops += parts * PointFlops(cost.frame, static_cast<double>(kernel_.in), static_cast<double>(kernel_.out),
                                     static_cast<double>(kernel_.side * kernel_.side));
  }
  size_t ScratchBytes(const Shape& frame) const noexcept {
    return Convolution::WorkspaceBytes(PlaneShape(), WithChannels(frame, kernel_.in), {compute_, DType::kF32});
  }

 private:
  FrameRing& Ring(FilmState& state) const noexcept { return state.rings[static_cast<size_t>(ring_)]; }

  // The part of the frame that lies `ago` frames back; null before the first.
  void Add(const Tensor* frame, int64_t ago, Sum& sum) const noexcept {
    if (frame == nullptr) return;
    taps_[static_cast<size_t>(kernel_.frames - 1 - ago)].Forward(*frame, sum.dst, sum.workspace, sum.into);
    sum.into = Convolution::Into::kAdd;
  }

  ConvolutionShape PlaneShape() const noexcept {
    const int64_t pad = kernel_.side / 2;
    return {kernel_.in, kernel_.out, kernel_.side, 1, pad, pad};
  }

  FilmKernel kernel_;
  DType compute_;
  int ring_;
  std::vector<Convolution> taps_;  // oldest frame first
};

void CopyInto(const Tensor& frame, Tensor& slot) noexcept {
  ConvertElements(frame.raw(), frame.dtype(), slot.mutable_raw(), slot.dtype(), frame.numel());
}

class ConvolutionLayer final : public FilmLayer {
 public:
  ConvolutionLayer(FilmBuilder& builder, const std::string& norm, const std::string& prefix, const FilmKernel& kernel)
      : taps_(builder, prefix, kernel) {
    if (!norm.empty()) norm_.emplace(builder, norm, Shape{kernel.in, 1, 1, 1});
  }

  void Push(FilmState& state, Tensor& frame, ForwardContext& context, const FrameSink& next) const noexcept override {
    Workspace::Scope scope(context.workspace);
    Tensor out = context.workspace.Take(WithChannels(frame.shape(), taps_.out()), DType::kF32);
    const auto fill = [&](Tensor& slot) {
      if (norm_) {
        norm_->Forward(frame, slot, Activation::kSilu);
      } else {
        CopyInto(frame, slot);
      }
    };
    taps_.Forward(state, fill, {out, context.workspace});
    next(out);
  }

  void Measure(FilmCost& cost) const noexcept override {
    taps_.Measure(cost, taps_.Parts(cost.frames));
    const Shape out = WithChannels(cost.frame, taps_.out());
    cost.workspace_bytes += Bytes(out, DType::kF32) + taps_.ScratchBytes(cost.frame);
    cost.frame = out;
  }

 private:
  std::optional<FilmNorm> norm_;
  Taps taps_;
};

// Adds to its input where the widths are equal.
class ResidualLayer final : public FilmLayer {
 public:
  ResidualLayer(FilmBuilder& builder, const std::string& prefix, int64_t in, int64_t out)
      : norm_1_(builder, prefix + "norm1", {in, 1, 1, 1}),
        norm_2_(builder, prefix + "norm2", {out, 1, 1, 1}),
        conv_1_(builder, prefix + "conv1", {in, out}),
        conv_2_(builder, prefix + "conv2", {out, out}) {
    if (in != out) shortcut_.emplace(builder, prefix + "conv_shortcut", FilmKernel{in, out, 1, 1});
  }

  void Push(FilmState& state, Tensor& frame, ForwardContext& context, const FrameSink& next) const noexcept override {
    Workspace::Scope scope(context.workspace);
    Tensor sum = frame;
    if (shortcut_) {
      sum = context.workspace.Take(WithChannels(frame.shape(), conv_2_.out()), DType::kF32);
      shortcut_->Forward(state, [&](Tensor& slot) { CopyInto(frame, slot); }, {sum, context.workspace});
    }
    {
      Workspace::Scope inner(context.workspace);
      Tensor hidden = context.workspace.Take(sum.shape(), DType::kF32);
      conv_1_.Forward(state, [&](Tensor& slot) { norm_1_.Forward(frame, slot, Activation::kSilu); },
                      {hidden, context.workspace});
      conv_2_.Forward(state, [&](Tensor& slot) { norm_2_.Forward(hidden, slot, Activation::kSilu); },
                      {sum, context.workspace, Convolution::Into::kAddWithBias});
    }
    next(sum);
  }

  void Measure(FilmCost& cost) const noexcept override {
    const Shape out = WithChannels(cost.frame, conv_2_.out());
    size_t scratch = std::max(conv_1_.ScratchBytes(cost.frame), conv_2_.ScratchBytes(cost.frame));
    if (shortcut_) cost.workspace_bytes += Bytes(out, DType::kF32);
    conv_1_.Measure(cost, conv_1_.Parts(cost.frames));
    cost.frame = out;
    conv_2_.Measure(cost, conv_2_.Parts(cost.frames));
    if (shortcut_) {
      cost.frame = WithChannels(out, 0);
      shortcut_->Measure(cost, cost.frames);
      scratch = std::max(scratch, shortcut_->ScratchBytes(out));
    }
    cost.frame = out;
    cost.workspace_bytes += Bytes(out, DType::kF32) + scratch;
  }

 private:
  FilmNorm norm_1_, norm_2_;
  Taps conv_1_, conv_2_;
  std::optional<Taps> shortcut_;
};

// A convolution of one position as a product: weight [out, in, 1, 1].
Linear PointLinear(FilmBuilder& builder, const std::string& prefix, int64_t in, int64_t out) {
  if (builder.weights == nullptr) return {};
  WeightMap flat(builder.weights->name());
  flat.Insert(prefix + ".weight", builder.weights->Take(prefix + ".weight", {out, in, 1, 1}).Reshape({out, in}),
              builder.weights->name());
  flat.Insert(prefix + ".bias", builder.weights->Take(prefix + ".bias", {out}), builder.weights->name());
  return Linear(flat, prefix, {in, out, LinearShape::Bias::kRequired});
}

class AttentionLayer final : public FilmLayer {
 public:
  AttentionLayer(FilmBuilder& builder, const std::string& prefix, int64_t channels)
      : norm_(builder, prefix + "norm", {channels, 1, 1}),
        qkv_(PointLinear(builder, prefix + "to_qkv", channels, 3 * channels)),
        out_(PointLinear(builder, prefix + "proj", channels, channels)),
        site_(FilmSite(builder.component, builder.attentions++)) {}

  void Push(FilmState&, Tensor& frame, ForwardContext& context, const FrameSink& next) const noexcept override {
    {
      Workspace::Scope scope(context.workspace);
      Tensor rows = Rows(frame);
      const int64_t channels = rows.dim(1);
      Tensor normed = context.workspace.Take(rows.shape(), DType::kF32);
      norm_.Forward(frame, normed, Activation::kNone);
      const Tensor qkv = qkv_.Forward(normed, DType::kF32, context.workspace);
      const auto part = [&](int64_t i) {
        return BshdIn{qkv.data<float>() + i * channels, qkv.numel(), 3 * channels, channels};
      };
      AttentionIO io;
      io.q = part(0);
      io.k = part(1);
      io.v = part(2);
      io.out = {normed.mutable_raw(), normed.numel(), channels, channels};
      context.attention.Run(site_, FilmProblem(frame.shape()), io, context.workspace);
      AddGated(rows, out_.Forward(normed, DType::kF32, context.workspace), {});
    }
    next(frame);
  }

  void Measure(FilmCost& cost) const noexcept override {
    const auto channels = static_cast<double>(cost.frame[3]);
    cost.flops += cost.frames * PointFlops(cost.frame, channels, 4 * channels, 1);
    cost.flops += cost.frames * FilmProblem(cost.frame).flops();
    cost.workspace_bytes += 5 * Bytes(cost.frame, DType::kF32);
    cost.attention.push_back(cost.frame);
  }

 private:
  FilmNorm norm_;
  Linear qkv_, out_;
  AttentionSite site_;
};

// A plane convolution of f32 frames.
Convolution PlaneConvolution(FilmBuilder& builder, const std::string& prefix, const ConvolutionShape& shape) {
  if (builder.weights == nullptr) return {};
  const Tensor weight =
      builder.weights->Take(prefix + ".weight", {shape.out_channels, shape.in_channels, shape.kernel, shape.kernel});
  return Convolution(weight, builder.weights->TakeF32(prefix + ".bias", {shape.out_channels}), shape,
                     {builder.compute, DType::kF32});
}

class UpsampleLayer final : public FilmLayer {
 public:
  UpsampleLayer(FilmBuilder& builder, const std::string& prefix, int64_t in, int64_t out)
      : shape_{in, out}, compute_(builder.compute), convolution_(PlaneConvolution(builder, prefix, shape_)) {}

  void Push(FilmState&, Tensor& frame, ForwardContext& context, const FrameSink& next) const noexcept override {
    Workspace::Scope scope(context.workspace);
    Tensor out = context.workspace.Take(Doubled(frame.shape(), shape_.out_channels), DType::kF32);
    {
      Workspace::Scope inner(context.workspace);
      Tensor small = context.workspace.Take(frame.shape(), compute_);
      CopyInto(frame, small);
      Tensor large = context.workspace.Take(Doubled(frame.shape(), frame.dim(3)), compute_);
      UpsampleNearest2x(small, large);
      convolution_.Forward(large, out, context.workspace);
    }
    next(out);
  }

  void Measure(FilmCost& cost) const noexcept override {
    const Shape large = Doubled(cost.frame, cost.frame[3]), out = Doubled(cost.frame, shape_.out_channels);
    cost.workspace_bytes += Bytes(out, DType::kF32) + Bytes(large, compute_) + Bytes(cost.frame, compute_) +
                            Convolution::WorkspaceBytes(shape_, large, {compute_, DType::kF32});
    cost.flops += cost.frames * PointFlops(large, static_cast<double>(shape_.in_channels),
                                           static_cast<double>(shape_.out_channels), 9);
    cost.frame = out;
  }

 private:
  static Shape Doubled(const Shape& frame, int64_t channels) { return {1, 2 * frame[1], 2 * frame[2], channels}; }

  ConvolutionShape shape_;
  DType compute_;
  Convolution convolution_;
};

class DownsampleLayer final : public FilmLayer {
 public:
  DownsampleLayer(FilmBuilder& builder, const std::string& prefix, int64_t channels)
      : shape_{channels, channels, 3, 2, 0, 1},
        compute_(builder.compute),
        convolution_(PlaneConvolution(builder, prefix, shape_)) {}

  void Push(FilmState&, Tensor& frame, ForwardContext& context, const FrameSink& next) const noexcept override {
    Workspace::Scope scope(context.workspace);
    Tensor out = context.workspace.Take(convolution_.OutputShape(frame.shape()), DType::kF32);
    {
      Workspace::Scope inner(context.workspace);
      Tensor input = context.workspace.Take(frame.shape(), compute_);
      CopyInto(frame, input);
      convolution_.Forward(input, out, context.workspace);
    }
    next(out);
  }

  void Measure(FilmCost& cost) const noexcept override {
    const Shape out{1, cost.frame[1] / 2, cost.frame[2] / 2, cost.frame[3]};
    cost.workspace_bytes += Bytes(out, DType::kF32) + Bytes(cost.frame, compute_) +
                            Convolution::WorkspaceBytes(shape_, cost.frame, {compute_, DType::kF32});
    const auto channels = static_cast<double>(cost.frame[3]);
    cost.flops += cost.frames * PointFlops(out, channels, channels, 9);
    cost.frame = out;
  }

 private:
  ConvolutionShape shape_;
  DType compute_;
  Convolution convolution_;
};

// The convolution over time gives two frames side by side in its channels.
class SlowerLayer final : public FilmLayer {
 public:
  SlowerLayer(FilmBuilder& builder, const std::string& prefix, int64_t channels)
      : channels_(channels), first_(builder.rings++), taps_(builder, prefix, {channels, 2 * channels, 3, 1}) {}

  void Push(FilmState& state, Tensor& frame, ForwardContext& context, const FrameSink& next) const noexcept override {
    FrameRing& seen = state.rings[static_cast<size_t>(first_)];
    seen.Next();
    if (seen.pushed() == 1) {
      next(frame);
      return;
    }
    Workspace::Scope scope(context.workspace);
    Tensor both = context.workspace.Take(WithChannels(frame.shape(), 2 * channels_), DType::kF32);
    taps_.Forward(state, [&](Tensor& slot) { CopyInto(frame, slot); }, {both, context.workspace});
    for (int64_t half = 0; half < 2; ++half) {
      Workspace::Scope inner(context.workspace);
      Tensor out = context.workspace.Take(frame.shape(), DType::kF32);
      CopyHalf(both, half, out);
      next(out);
    }
  }

  void Measure(FilmCost& cost) const noexcept override {
    cost.rings.push_back({{1, 1, 1, 1}, 1, DType::kF32});  // counts only
    taps_.Measure(cost, taps_.Parts(cost.frames - 1));     // not the first
    cost.workspace_bytes += 3 * Bytes(cost.frame, DType::kF32) + taps_.ScratchBytes(cost.frame);
    cost.frames = 2 * cost.frames - 1;
  }

 private:
  void CopyHalf(const Tensor& both, int64_t half, Tensor& out) const noexcept {
    const float* from = both.data<float>() + half * channels_;
    float* to = out.mutable_data<float>();
    ParallelFor(out.numel() / channels_, 1024, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        std::memcpy(to + i * channels_, from + 2 * i * channels_, static_cast<size_t>(channels_) * sizeof(float));
      }
    });
  }

  int64_t channels_;
  int first_;
  Taps taps_;
};

class FasterLayer final : public FilmLayer {
 public:
  FasterLayer(FilmBuilder& builder, const std::string& prefix, int64_t channels)
      : taps_(builder, prefix, {channels, channels, 3, 1}) {}

  void Push(FilmState& state, Tensor& frame, ForwardContext& context, const FrameSink& next) const noexcept override {
    const auto fill = [&](Tensor& slot) { CopyInto(frame, slot); };
    const int64_t before = taps_.pushed(state);
    if (before == 0 || before % 2 == 1) {
      taps_.Store(state, fill);
      if (before == 0) next(frame);
      return;
    }
    Workspace::Scope scope(context.workspace);
    Tensor out = context.workspace.Take(frame.shape(), DType::kF32);
    taps_.Forward(state, fill, {out, context.workspace});
    next(out);
  }

  void Measure(FilmCost& cost) const noexcept override {
    cost.frames = (cost.frames + 1) / 2;
    taps_.Measure(cost, 3 * (cost.frames - 1));  // not the first
    cost.workspace_bytes += Bytes(cost.frame, DType::kF32) + taps_.ScratchBytes(cost.frame);
  }

 private:
  Taps taps_;
};

}  // namespace

std::unique_ptr<FilmLayer> FilmConvolution(FilmBuilder& builder, const std::string& prefix, const FilmKernel& kernel) {
  return std::make_unique<ConvolutionLayer>(builder, "", prefix, kernel);
}
std::unique_ptr<FilmLayer> FilmHead(FilmBuilder& builder, const std::string& norm, const std::string& prefix,
                                    const FilmKernel& kernel) {
  return std::make_unique<ConvolutionLayer>(builder, norm, prefix, kernel);
}
std::unique_ptr<FilmLayer> FilmResidual(FilmBuilder& builder, const std::string& prefix, int64_t in, int64_t out) {
  return std::make_unique<ResidualLayer>(builder, prefix, in, out);
}
std::unique_ptr<FilmLayer> FilmAttention(FilmBuilder& builder, const std::string& prefix, int64_t channels) {
  return std::make_unique<AttentionLayer>(builder, prefix, channels);
}
std::unique_ptr<FilmLayer> FilmUpsample(FilmBuilder& builder, const std::string& prefix, int64_t in, int64_t out) {
  return std::make_unique<UpsampleLayer>(builder, prefix, in, out);
}
std::unique_ptr<FilmLayer> FilmDownsample(FilmBuilder& builder, const std::string& prefix, int64_t channels) {
  return std::make_unique<DownsampleLayer>(builder, prefix, channels);
}
std::unique_ptr<FilmLayer> FilmSlower(FilmBuilder& builder, const std::string& prefix, int64_t channels) {
  return std::make_unique<SlowerLayer>(builder, prefix, channels);
}
std::unique_ptr<FilmLayer> FilmFaster(FilmBuilder& builder, const std::string& prefix, int64_t channels) {
  return std::make_unique<FasterLayer>(builder, prefix, channels);
}

}  // namespace tessera
