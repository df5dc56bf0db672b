#include "kernels/linear/gemm.h"

#include <algorithm>

#include <dnnl.hpp>

#include "parallel/parallel_for.h"

namespace tessera {
namespace {

// Tiles are a function of the shape only and each is computed by one thread: same bytes for any number of threads.
constexpr int64_t kTileOutputs = 256;
constexpr int64_t kMostRows = 2048;  // of src at once

struct GemmPlan {
  int64_t rows = 0, in = 0, out = 0;
  int64_t chunk = 0;    // rows at once
  int64_t outputs = 0;  // weight rows per tile
  size_t src_bytes = 0, weight_bytes = 0, dst_bytes = 0;
};

GemmPlan PlanGemm(int64_t rows, int64_t in, int64_t out, DType src, DType weight) noexcept {
  GemmPlan plan{rows, in, out};
  const int64_t chunks = std::max<int64_t>(1, (rows + kMostRows - 1) / kMostRows);
  plan.chunk = (rows + chunks - 1) / chunks;
  plan.outputs = std::min(out, kTileOutputs);
  const auto bytes = [](int64_t a, int64_t b) { return static_cast<size_t>(a * b) * sizeof(float); };
  plan.src_bytes = src == DType::kF32 ? 0 : bytes(plan.chunk, in);
  plan.weight_bytes = weight == DType::kF32 ? 0 : bytes(plan.outputs, in);
  plan.dst_bytes = bytes(plan.chunk, plan.outputs);
  return plan;
}

size_t Aligned(size_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

const std::byte* Bytes(const Tensor& tensor, int64_t element) noexcept {
  return static_cast<const std::byte*>(tensor.raw()) + static_cast<size_t>(element) * SizeOf(tensor.dtype());
}

// `count` elements from `first` on as f32: in place, or widened into `scratch`.
const float* AsF32(const Tensor& tensor, int64_t first, int64_t count, float* scratch) noexcept {
  if (tensor.dtype() == DType::kF32) return tensor.data<float>() + first;
  ConvertElements(Bytes(tensor, first), tensor.dtype(), scratch, DType::kF32, count);
  return scratch;
}

struct Tile {
  int64_t row, rows, output, outputs;
};

void FinishTile(const Tile& tile, const float* product, int64_t stride, const Tensor& bias, Tensor& dst) noexcept {
  const int64_t out = dst.dim(dst.rank() - 1);
  for (int64_t i = 0; i < tile.rows; ++i) {
    const float* from = product + i * stride;
    const int64_t at = (tile.row + i) * out + tile.output;
    const float* add = bias.defined() ? bias.data<float>() + tile.output : nullptr;
    const auto value = [&](int64_t c) { return add == nullptr ? from[c] : from[c] + add[c]; };
    if (dst.dtype() == DType::kF32) {
      float* to = dst.mutable_data<float>() + at;
      for (int64_t c = 0; c < tile.outputs; ++c) to[c] = value(c);
    } else {
      BFloat16* to = dst.mutable_data<BFloat16>() + at;
      for (int64_t c = 0; c < tile.outputs; ++c) to[c] = ToBFloat16(value(c));
    }
  }
}

}  // namespace

void Gemm(const Tensor& src, const Tensor& weight, const Tensor& bias, Tensor& dst, Workspace& workspace) noexcept {
  const int64_t out = weight.dim(0), in = weight.dim(1), rows = src.numel() / std::max<int64_t>(1, in);
  TESSERA_CHECK(src.contiguous() && weight.contiguous() && dst.contiguous());
  TESSERA_CHECK(src.dim(src.rank() - 1) == in && dst.dim(dst.rank() - 1) == out && dst.numel() == rows * out);
  TESSERA_CHECK(!bias.defined() || (bias.numel() == out && bias.contiguous()));
  const GemmPlan plan = PlanGemm(rows, in, out, src.dtype(), weight.dtype());
  const Workspace::Scope scope(workspace);
  auto* wide_src = static_cast<float*>(workspace.TakeBytes(plan.src_bytes));
  const size_t per_thread = Aligned(plan.weight_bytes) + Aligned(plan.dst_bytes);
  auto* scratch = static_cast<std::byte*>(workspace.TakeBytes(per_thread * static_cast<size_t>(Threads())));
  for (int64_t row = 0; row < rows; row += plan.chunk) {
    const int64_t count = std::min(plan.chunk, rows - row);
    const float* a = AsF32(src, row * in, count * in, wide_src);
    ParallelItems((out + plan.outputs - 1) / plan.outputs, [&](int64_t item, int thread) {
      auto* mine = scratch + per_thread * static_cast<size_t>(thread);
      auto* product = reinterpret_cast<float*>(mine + Aligned(plan.weight_bytes));
      const int64_t output = item * plan.outputs;
      const Tile tile{row, count, output, std::min(plan.outputs, out - output)};
      const float* b = AsF32(weight, output * in, tile.outputs * in, reinterpret_cast<float*>(mine));
      const auto status =
          dnnl::sgemm('N', 'T', count, tile.outputs, in, 1.0f, a, in, b, in, 0.0f, product, plan.outputs);
      TESSERA_CHECK(status == dnnl::status::success);
      FinishTile(tile, product, plan.outputs, bias, dst);
    });
  }
}

size_t GemmWorkspaceBytes(int64_t rows, int64_t in, int64_t out, DType src, DType weight) noexcept {
  const GemmPlan plan = PlanGemm(rows, in, out, src, weight);
  return Aligned(std::max<size_t>(plan.src_bytes, 1)) +
         (Aligned(plan.weight_bytes) + Aligned(plan.dst_bytes)) * static_cast<size_t>(Threads());
}

}  // namespace tessera
