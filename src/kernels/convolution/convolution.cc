#include "kernels/convolution/convolution.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <tuple>
#include <unordered_map>

#include "base/round_up.h"
#include "base/trace.h"
#include "kernels/onednn/engine.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

using Format = dnnl::memory::format_tag;

dnnl::memory::data_type OneDnnType(DType dtype) noexcept {
  TESSERA_CHECK(dtype == DType::kF32 || dtype == DType::kBF16);
  return dtype == DType::kF32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
}

// A picture is computed in bands of output rows, each by one thread: their size depends on the shape only, which keeps
// results independent of threads and the memory of widened activations bounded.
constexpr int64_t kMostBandPixels = 8192, kFewestBandPixels = 256, kBandsPerPicture = 16;

int64_t BandRows(int64_t height, int64_t width) noexcept {
  const int64_t pixels = std::clamp(height * width / kBandsPerPicture, kFewestBandPixels, kMostBandPixels);
  return std::clamp<int64_t>(pixels / std::max<int64_t>(1, width), 1, std::max<int64_t>(1, height));
}

// Some output rows of a picture and the input rows that they need; `top` and `bottom` of these are padding.
struct Band {
  int64_t out_row = 0, out_rows = 0;
  int64_t in_row = 0, in_rows = 0;
  int64_t top = 0, bottom = 0;
};

Band BandAt(const ConvolutionShape& shape, int64_t height, int64_t out_row, int64_t out_rows) noexcept {
  const int64_t first = out_row * shape.stride - shape.pad_begin;
  const int64_t last = (out_row + out_rows - 1) * shape.stride - shape.pad_begin + shape.kernel;  // exclusive
  Band band{out_row, out_rows, std::max<int64_t>(0, first), 0, std::max<int64_t>(0, -first), 0};
  band.in_rows = std::min(height, last) - band.in_row;
  band.bottom = std::max<int64_t>(0, last - height);
  return band;
}

struct BandPrimitive {
  dnnl::convolution_forward::primitive_desc desc;
  dnnl::convolution_forward primitive;
  dnnl::memory weights;  // in the order this primitive reads; no elements while planning
};

}  // namespace

struct Convolution::State {
  ConvolutionShape shape;
  Types types;                     // of src and dst
  DType arithmetic = DType::kF32;  // of weights and products
  DType product = DType::kF32;     // what oneDNN stores: dst's type, or f32 that is narrowed afterwards
  dnnl::memory bias;

  // The weights in every order that a primitive wanted: oneDNN has fast code for an order at some sizes only, and falls
  // back to a hundred times slower loops elsewhere. Few orders are in use at a time.
  mutable std::vector<dnnl::memory> orders;

  // Primitives by what a band looks like: made on first use (WorkspaceBytes makes them while planning).
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, Into>;  // in_rows, width, top, bottom
  mutable std::shared_mutex mutex;
  mutable std::map<Key, BandPrimitive> primitives;

  dnnl::convolution_forward::primitive_desc Describe(const Band& band, int64_t width, Into into) const;
  dnnl::memory WeightsIn(const dnnl::memory::desc& order) const;
  const BandPrimitive& PrimitiveFor(const Band& band, int64_t width, Into into) const;
  // What one band takes of the workspace: widened input, product, oneDNN's scratchpad.
  struct BandBytes {
    size_t src = 0, dst = 0, scratchpad = 0;
    size_t total() const noexcept { return Aligned(src) + Aligned(dst) + Aligned(scratchpad); }
  };
  BandBytes BytesOf(const Band& band, int64_t width) const;
  int64_t OutSize(int64_t size) const noexcept {
    return (size + shape.pad_begin + shape.pad_end - shape.kernel) / shape.stride + 1;
  }
  // src and dst are one picture each.
  struct Call {
    const Tensor& src;
    Tensor& dst;
    Into into;
  };
  void RunBand(const Band& band, const Call& call, std::byte* scratch) const;
  // Shape and types; no weights yet.
  State(const ConvolutionShape& asked, Types asked_types);
  size_t WorkspaceBytes(const Shape& src) const;
};

dnnl::convolution_forward::primitive_desc Convolution::State::Describe(const Band& band, int64_t width,
                                                                       Into into) const {
  const auto type = OneDnnType(arithmetic);
  const dnnl::memory::desc weights_desc({shape.out_channels, shape.in_channels, shape.kernel, shape.kernel}, type,
                                        Format::any);
  const dnnl::memory::desc src({1, shape.in_channels, band.in_rows, width}, type, Format::nhwc);
  const dnnl::memory::desc dst({1, shape.out_channels, band.out_rows, OutSize(width)}, OneDnnType(product),
                               Format::nhwc);
  const dnnl::memory::desc bias_desc =
      into == Into::kAdd ? dnnl::memory::desc()
                         : dnnl::memory::desc({shape.out_channels}, dnnl::memory::data_type::f32, Format::a);
  const dnnl::convolution_forward::desc operation(
      dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, src, weights_desc, bias_desc, dst,
      {shape.stride, shape.stride}, {band.top, shape.pad_begin}, {band.bottom, shape.pad_end});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (into != Into::kStore) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  const OneThreadPlanning one_thread;
  return {operation, attributes, CpuEngine()};
}

const BandPrimitive& Convolution::State::PrimitiveFor(const Band& band, int64_t width, Into into) const {
  const Key key{band.in_rows, width, band.top, band.bottom, into};
  {
    const std::shared_lock lock(mutex);
    if (const auto found = primitives.find(key); found != primitives.end()) return found->second;
  }
  const std::unique_lock lock(mutex);
  if (const auto found = primitives.find(key); found != primitives.end()) return found->second;
  const auto desc = Describe(band, width, into);
  const OneThreadPlanning one_thread;
  const BandPrimitive made{desc, dnnl::convolution_forward(desc), WeightsIn(desc.weights_desc())};
  return primitives.emplace(key, made).first->second;
}

// With the lock held.
dnnl::memory Convolution::State::WeightsIn(const dnnl::memory::desc& order) const {
  if (orders.empty()) return dnnl::memory(order, CpuEngine(), DNNL_MEMORY_NONE);
  for (const dnnl::memory& made : orders) {
    if (made.get_desc() == order) return made;
  }
  dnnl::memory from = orders.front(), to(order, CpuEngine());
  dnnl::reorder(from, to).execute(ThreadStream(), from, to);
  return orders.emplace_back(to);
}

Convolution::State::BandBytes Convolution::State::BytesOf(const Band& band, int64_t width) const {
  BandBytes bytes;
  for (const Into into : {Into::kStore, Into::kAdd}) {
    if (into == Into::kAdd && types.dst != DType::kF32) continue;
    bytes.scratchpad = std::max(bytes.scratchpad, PrimitiveFor(band, width, into).desc.scratchpad_desc().get_size());
  }
  if (types.src != arithmetic) {
    bytes.src = static_cast<size_t>(band.in_rows * width * shape.in_channels) * SizeOf(arithmetic);
  }
  if (types.dst != product) {
    bytes.dst = static_cast<size_t>(band.out_rows * OutSize(width) * shape.out_channels) * SizeOf(product);
  }
  return bytes;
}

void Convolution::State::RunBand(const Band& band, const Call& call, std::byte* scratch) const {
  const int64_t width = call.src.dim(2);
  const BandPrimitive& band_primitive = PrimitiveFor(band, width, call.into);
  const BandBytes bytes = BytesOf(band, width);
  Tensor from = call.src.Narrow(1, band.in_row, band.in_rows);
  Tensor to = call.dst.Narrow(1, band.out_row, band.out_rows);
  const void* input = from.raw();
  void* output = to.mutable_raw();
  if (types.src != arithmetic) {
    ConvertElements(input, types.src, scratch, arithmetic, from.numel());
    input = scratch;
  }
  if (types.dst != product) output = scratch + Aligned(bytes.src);
  const auto& desc = band_primitive.desc;
  std::unordered_map<int, dnnl::memory> arguments = {
      {DNNL_ARG_SRC, MemoryOver(desc.src_desc(), input)},
      {DNNL_ARG_WEIGHTS, band_primitive.weights},
      {DNNL_ARG_DST, MemoryOver(desc.dst_desc(), output)},
      {DNNL_ARG_SCRATCHPAD, MemoryOver(desc.scratchpad_desc(), scratch + Aligned(bytes.src) + Aligned(bytes.dst))}};
  if (call.into != Into::kAdd) arguments.emplace(DNNL_ARG_BIAS, bias);
  band_primitive.primitive.execute(ThreadStream(), arguments);
  if (types.dst != product) ConvertElements(output, product, to.mutable_raw(), types.dst, to.numel());
}

Convolution::State::State(const ConvolutionShape& asked, Types asked_types)
    : shape(asked),
      types(asked_types),
      arithmetic(types.src == DType::kBF16 && Bf16DotPays() ? DType::kBF16 : DType::kF32),
      product(types.dst == DType::kF32 ? DType::kF32 : arithmetic) {}

size_t Convolution::State::WorkspaceBytes(const Shape& src) const {
  const int64_t out_height = OutSize(src[1]), rows = BandRows(out_height, OutSize(src[2]));
  size_t most = 0;
  for (int64_t row = 0; row < out_height; row += rows) {
    const Band band = BandAt(shape, src[1], row, std::min(rows, out_height - row));
    most = std::max(most, BytesOf(band, src[2]).total());
  }
  return most * static_cast<size_t>(Threads());
}

Convolution::Convolution(const Tensor& weight, const Tensor& bias, const ConvolutionShape& shape, Types types) {
  const Shape expected{shape.out_channels, shape.in_channels, shape.kernel, shape.kernel};
  TESSERA_CHECK(weight.shape() == expected && weight.contiguous());
  TESSERA_CHECK(bias.numel() == shape.out_channels && bias.dtype() == DType::kF32 && bias.contiguous());
  const auto state = std::make_shared<State>(shape, types);
  const dnnl::memory::dims sizes = {shape.out_channels, shape.in_channels, shape.kernel, shape.kernel};
  dnnl::memory given = MemoryOver({sizes, OneDnnType(weight.dtype()), Format::oihw}, weight.raw());
  dnnl::memory plain({sizes, OneDnnType(state->arithmetic), Format::oihw}, CpuEngine());
  dnnl::reorder(given, plain).execute(ThreadStream(), given, plain);
  state->orders.push_back(plain);
  const dnnl::memory::desc bias_desc({shape.out_channels}, dnnl::memory::data_type::f32, Format::a);
  state->bias = dnnl::memory(bias_desc, CpuEngine());
  std::copy_n(bias.data<float>(), shape.out_channels, static_cast<float*>(state->bias.get_data_handle()));
  state_ = state;
}

Shape Convolution::OutputShape(const Shape& src) const noexcept {
  return {src[0], state_->OutSize(src[1]), state_->OutSize(src[2]), state_->shape.out_channels};
}

size_t Convolution::WorkspaceBytes(const Shape& src) const noexcept { return state_->WorkspaceBytes(src); }

size_t Convolution::WorkspaceBytes(const ConvolutionShape& shape, const Shape& src, Types types) noexcept {
  return State(shape, types).WorkspaceBytes(src);
}

namespace {

TraceLabel LabelOf(const ConvolutionShape& shape, const Tensor& dst) noexcept {
  const double taps = static_cast<double>(shape.in_channels * shape.kernel * shape.kernel);
  return {.kind = TraceKind::kConvolution,
          .name = "convolution",
          .sizes = {dst.dim(0), dst.dim(1), dst.dim(2), shape.in_channels, shape.out_channels, shape.kernel},
          .flops = 2 * static_cast<double>(dst.numel()) * taps};
}

}  // namespace

void Convolution::Forward(const Tensor& src, Tensor& dst, Workspace& workspace, Into into) const noexcept {
  TESSERA_CHECK(src.rank() == 4 && src.contiguous() && src.dim(3) == state_->shape.in_channels);
  TESSERA_CHECK(dst.shape() == OutputShape(src.shape()) && dst.contiguous());
  TESSERA_CHECK(src.dtype() == state_->types.src && dst.dtype() == state_->types.dst);
  TESSERA_CHECK(into == Into::kStore || dst.dtype() == DType::kF32);
  const TraceScope trace(workspace.trace(), LabelOf(state_->shape, dst));
  const int64_t out_height = dst.dim(1), rows = BandRows(out_height, dst.dim(2));
  const int64_t bands = (out_height + rows - 1) / rows;
  const size_t total = WorkspaceBytes(src.shape()), per_thread = total / static_cast<size_t>(Threads());
  const Workspace::Scope scope(workspace);
  auto* scratch = static_cast<std::byte*>(workspace.TakeBytes(total));
  ParallelItems(src.dim(0) * bands, [&](int64_t item, int thread) {
    const int64_t row = item % bands * rows;
    Tensor to = dst.Narrow(0, item / bands, 1);
    const Band band = BandAt(state_->shape, src.dim(1), row, std::min(rows, out_height - row));
    const Tensor from = src.Narrow(0, item / bands, 1);
    state_->RunBand(band, {from, to, into}, scratch + per_thread * static_cast<size_t>(thread));
  });
}

}  // namespace tessera
