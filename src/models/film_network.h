// Causal convolutional networks over films, one frame at a time: what a layer needs of earlier frames is kept in its
// state, so memory does not depend on the number of frames. Frames are channels-last [1, height, width, channels] f32.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "kernels/convolution/convolution.h"
#include "models/forward_context.h"
#include "parallel/loop_body.h"
#include "weights/weight_map.h"

namespace tessera {

// Takes a frame that lies in the workspace until the call returns; may change it.
using FrameSink = LoopBody<Tensor&>;

// The last frames a layer has seen, in the type its products read.
class FrameRing {
 public:
  FrameRing(int64_t length, const Shape& frame, DType dtype);
  Tensor& Next() noexcept;  // the slot of the next frame, to be filled
  // The frame `ago` frames before the newest; null before the first.
  const Tensor* Ago(int64_t ago) const noexcept;
  int64_t pushed() const noexcept { return pushed_; }

 private:
  std::vector<Tensor> slots_;
  int64_t pushed_ = 0;
};

// The state of one film: a ring per layer that has one.
struct FilmState {
  std::vector<FrameRing> rings;
  int64_t calls = 0;
};

// What a network costs, found by walking over its layers with shapes.
struct FilmCost {
  DType compute = DType::kF32;
  Shape frame;        // as it arrives at a layer
  double frames = 0;  // of the whole film there
  double flops = 0;
  size_t state_bytes = 0, workspace_bytes = 0;
  std::vector<Shape> attention;  // frames that attention sees
  struct Ring {
    Shape frame;
    int64_t length;
    DType dtype;
  };
  std::vector<Ring> rings;  // in the order of their numbers
};

class FilmLayer {
 public:
  virtual ~FilmLayer() = default;
  // Calls `next` for every frame that comes out, none or several.
  virtual void Push(FilmState& state, Tensor& frame, ForwardContext& context, const FrameSink& next) const noexcept = 0;
  // Moves `cost` over the layer.
  virtual void Measure(FilmCost& cost) const noexcept = 0;
};

using FilmLayers = std::vector<std::unique_ptr<FilmLayer>>;

// How a network is built: takes weights and gives every ring its number.
struct FilmBuilder {
  WeightMap* weights = nullptr;  // null: layers that can be measured, but not run
  DType compute = DType::kF32;   // of convolutions' inputs: f32 or bf16
  std::string component = "vae";
  int rings = 0;
  int attentions = 0;
};

struct FilmKernel {
  int64_t in = 0, out = 0;
  int64_t frames = 3, side = 3;  // zeros before the first frame, around every frame
};

// Throw Error{kFormat} for missing tensors and other shapes. Prefixes end where ".weight" or a name begins.
std::unique_ptr<FilmLayer> FilmConvolution(FilmBuilder& builder, const std::string& prefix, const FilmKernel& kernel);
// RMS norm (`norm`.gamma), SiLU, convolution.
std::unique_ptr<FilmLayer> FilmHead(FilmBuilder& builder, const std::string& norm, const std::string& prefix,
                                    const FilmKernel& kernel);
// Two norms and convolutions beside a shortcut; prefix ends in '.'.
std::unique_ptr<FilmLayer> FilmResidual(FilmBuilder& builder, const std::string& prefix, int64_t in, int64_t out);
// One head over the positions of a frame.
std::unique_ptr<FilmLayer> FilmAttention(FilmBuilder& builder, const std::string& prefix, int64_t channels);
// Nearest neighbour twice as high and wide, then a convolution per frame.
std::unique_ptr<FilmLayer> FilmUpsample(FilmBuilder& builder, const std::string& prefix, int64_t in, int64_t out);
// A convolution of stride 2 per frame, zeros on the right and at the bottom.
std::unique_ptr<FilmLayer> FilmDownsample(FilmBuilder& builder, const std::string& prefix, int64_t channels);
// Twice as many frames but the first, which stays as it is and unseen.
std::unique_ptr<FilmLayer> FilmSlower(FilmBuilder& builder, const std::string& prefix, int64_t channels);
// Half as many: the first stays, then every second frame from three.
std::unique_ptr<FilmLayer> FilmFaster(FilmBuilder& builder, const std::string& prefix, int64_t channels);

struct FilmFactors {
  int64_t in = 0, out = 0;
  int64_t frames = 1, side = 1;
};
// `inner` beside a shortcut that averages groups of channels and positions, or repeats them (Wan 2.2).
std::unique_ptr<FilmLayer> FilmAveraged(FilmBuilder& builder, FilmLayers inner, const FilmFactors& factors);
std::unique_ptr<FilmLayer> FilmRepeated(FilmLayers inner, const FilmFactors& factors);

class FilmNetwork {
 public:
  FilmNetwork(FilmLayers layers, DType compute, std::string component)
      : layers_(std::move(layers)), compute_(compute), component_(std::move(component)) {}

  // Room for a film whose frames have this shape on entry; allocates.
  FilmState Begin(const Shape& frame) const;
  // `frame` may be changed. Nothing is allocated when the workspace has reserved what the cost says.
  void Push(FilmState& state, Tensor& frame, ForwardContext& context, const FrameSink& next) const noexcept;
  FilmCost Measure(const Shape& frame, double frames) const noexcept;
  std::vector<SiteProblem> Sites(const Shape& frame) const;

 private:
  FilmLayers layers_;
  DType compute_;
  std::string component_;
};

// Where the attention of a frame sits and what it asks.
AttentionSite FilmSite(const std::string& component, int attention);
AttentionProblem FilmProblem(const Shape& frame) noexcept;

}  // namespace tessera
