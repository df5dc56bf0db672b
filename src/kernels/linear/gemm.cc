#include "kernels/linear/gemm.h"

#include <algorithm>

#include "base/round_up.h"
#include "kernels/linear/gemm_kernels.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

// Every sum is formed in the same order whatever the tiles: words of a stretch one after the other, then the
// stretches. So tiles may depend on the number of threads and the bytes do not.
constexpr int64_t kStretchWords = 384;  // a src panel of it stays in the first cache
constexpr int64_t kMostOutputs = 256;   // packed weights of a stretch stay in the second cache
constexpr int64_t kFewestBlockRows = 384;
constexpr int64_t kMostSrcBytes = int64_t{80} << 20;  // packed src at once
constexpr int64_t kItemsPerThread = 4;
constexpr int64_t kFewestPackedWords = 1 << 14;  // below, a second thread costs more than it saves

size_t FloatBytes(int64_t a, int64_t b) noexcept { return Aligned(static_cast<size_t>(a * b) * sizeof(float)); }

GemmElement ElementOf(DType dtype) noexcept {
  TESSERA_CHECK(dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16);
  return dtype == DType::kF32 ? GemmElement::kF32 : dtype == DType::kBF16 ? GemmElement::kBF16 : GemmElement::kF16;
}

const GemmKernels& KernelsFor(DType src, DType weight) noexcept {
  const bool pairs = src == DType::kBF16 && weight == DType::kBF16 && Bf16DotPays();
  return pairs ? GemmKernelsAvx512Bf16() : ActiveGemmKernels();
}

struct Tiling {
  int64_t words = 0;       // of the inner axis, padded
  int64_t chunk_rows = 0;  // packed at once
  int64_t block_rows = 0;  // of one work item, a multiple of the src panel
  int64_t block_outputs = 0;
  size_t src_bytes = 0, weight_bytes = 0, partial_bytes = 0;
  size_t thread_bytes() const noexcept { return weight_bytes + partial_bytes; }
};

Tiling TilingOf(int64_t rows, int64_t in, int64_t out, const GemmKernels& kernels) noexcept {
  Tiling tiling;
  const int64_t panel = kernels.src_rows, wanted = kItemsPerThread * Threads();
  tiling.words = RoundUp((in + kernels.elements_per_word - 1) / kernels.elements_per_word, kWordStep);
  const int64_t fitting = std::max(kFewestBlockRows, kMostSrcBytes / std::max<int64_t>(4, tiling.words * 4));
  const int64_t chunks = std::max<int64_t>(1, (rows + fitting - 1) / fitting);
  tiling.chunk_rows = RoundUp((rows + chunks - 1) / chunks, panel);
  tiling.block_outputs = std::clamp(RoundUp(out / wanted, kernels.outputs), kernels.outputs, kMostOutputs);
  const int64_t slices = (out + tiling.block_outputs - 1) / tiling.block_outputs;
  const int64_t row_blocks =
      std::clamp<int64_t>(tiling.chunk_rows / kFewestBlockRows, 1, (wanted + slices - 1) / slices);
  tiling.block_rows = RoundUp((tiling.chunk_rows + row_blocks - 1) / row_blocks, panel);
  tiling.src_bytes = FloatBytes(tiling.chunk_rows, tiling.words);
  tiling.weight_bytes = FloatBytes(tiling.block_outputs, std::min(tiling.words, kStretchWords));
  if (tiling.words > kStretchWords) tiling.partial_bytes = FloatBytes(tiling.block_rows, tiling.block_outputs);
  return tiling;
}

struct Operands {
  GemmRows src, weight;
  const float* bias = nullptr;
  GemmTarget dst;
};

size_t Size(GemmElement type) noexcept { return type == GemmElement::kF32 ? 4 : 2; }
GemmRows RowsFrom(const GemmRows& rows, int64_t first, int64_t count) noexcept {
  const size_t offset = static_cast<size_t>(first * rows.in) * Size(rows.type);
  return {static_cast<const std::byte*>(rows.elements) + offset, rows.type, count, rows.in};
}
GemmTarget TargetFrom(const GemmTarget& dst, int64_t row, int64_t column) noexcept {
  const size_t offset = static_cast<size_t>(row * dst.stride + column) * Size(dst.type);
  return {static_cast<std::byte*>(dst.elements) + offset, dst.stride, dst.type};
}

// One work item: packs the weights of its outputs stretch by stretch and multiplies its rows with them.
void MultiplyBlock(GemmBlock block, const GemmRows& weight, const Tiling& tiling, const GemmKernels& kernels,
                   float* scratch) noexcept {
  const float* src = block.src;
  if (block.dst.type == GemmElement::kF32) {
    block.partial = static_cast<float*>(block.dst.elements);
    block.partial_stride = block.dst.stride;
  } else {
    block.partial = scratch + tiling.weight_bytes / sizeof(float);
    block.partial_stride = tiling.block_outputs;
  }
  block.weight = scratch;
  for (int64_t word = 0; word < tiling.words; word += kStretchWords) {
    block.words = std::min(kStretchWords, tiling.words - word);
    block.src = src + word * kernels.src_rows;
    block.first = word == 0;
    block.last = word + block.words == tiling.words;
    kernels.pack_weight(weight, word, block.words, scratch);
    kernels.multiply(block);
  }
}

void MultiplyChunk(const Operands& operands, const Tiling& tiling, const GemmKernels& kernels, float* packed_src,
                   std::byte* scratch) noexcept {
  const int64_t rows = operands.src.rows, out = operands.weight.rows, panel = kernels.src_rows;
  ParallelFor((rows + panel - 1) / panel, 1,
              [&](int64_t begin, int64_t end) { kernels.pack_src(operands.src, packed_src, begin, end); });
  const int64_t row_blocks = (rows + tiling.block_rows - 1) / tiling.block_rows;
  const int64_t slices = (out + tiling.block_outputs - 1) / tiling.block_outputs;
  ParallelItems(row_blocks * slices, [&](int64_t item, int thread) {
    const int64_t row = item % row_blocks * tiling.block_rows, output = item / row_blocks * tiling.block_outputs;
    GemmBlock block;
    block.src = packed_src + row * tiling.words;
    block.src_panel = tiling.words * panel;
    block.rows = std::min(tiling.block_rows, rows - row);
    block.outputs = std::min(tiling.block_outputs, out - output);
    block.dst = TargetFrom(operands.dst, row, output);
    block.bias = operands.bias == nullptr ? nullptr : operands.bias + output;
    auto* mine = reinterpret_cast<float*>(scratch + tiling.thread_bytes() * static_cast<size_t>(thread));
    MultiplyBlock(block, RowsFrom(operands.weight, output, block.outputs), tiling, kernels, mine);
  });
}

void MultiplyFewRowsOf(const Operands& operands, const float* src) noexcept {
  const FewRowsProduct product{src, operands.src.rows, operands.weight, operands.bias, operands.dst};
  const MultiplyFewRows kernel = ActiveFewRows();
  constexpr int64_t kElementsPerPart = 1 << 15;
  const int64_t grain = std::max<int64_t>(1, kElementsPerPart / std::max<int64_t>(1, operands.weight.in));
  ParallelFor(operands.weight.rows, grain, [&](int64_t begin, int64_t end) { kernel(product, begin, end); });
}

}  // namespace

const GemmKernels& ActiveGemmKernels() noexcept {
  switch (ActiveIsa()) {
    case Isa::kScalar:
      return GemmKernelsScalar();
    case Isa::kAvx2:
      return GemmKernelsAvx2();
    case Isa::kAvx512:
    case Isa::kAvx512Bf16:
      return GemmKernelsAvx512();
  }
  return GemmKernelsScalar();
}

MultiplyFewRows ActiveFewRows() noexcept {
  switch (ActiveIsa()) {
    case Isa::kScalar:
      return FewRowsScalar();
    case Isa::kAvx2:
      return FewRowsAvx2();
    case Isa::kAvx512:
    case Isa::kAvx512Bf16:
      return FewRowsAvx512();
  }
  return FewRowsScalar();
}

void Gemm(const Tensor& src, const Tensor& weight, const Tensor& bias, Tensor& dst, Workspace& workspace) noexcept {
  const int64_t out = weight.dim(0), in = weight.dim(1);
  TESSERA_CHECK(src.contiguous() && weight.contiguous() && dst.contiguous() && in > 0 && out > 0);
  TESSERA_CHECK(src.dim(src.rank() - 1) == in && dst.dim(dst.rank() - 1) == out &&
                src.numel() / in == dst.numel() / out);
  TESSERA_CHECK(!bias.defined() || (bias.numel() == out && bias.contiguous()));
  TESSERA_CHECK(src.dtype() != DType::kF16 && dst.dtype() != DType::kF16);
  Operands all{{src.raw(), ElementOf(src.dtype()), src.numel() / in, in},
               {weight.raw(), ElementOf(weight.dtype()), out, in},
               bias.defined() ? bias.data<float>() : nullptr,
               {dst.mutable_raw(), out, ElementOf(dst.dtype())}};
  const int64_t rows = all.src.rows;
  const Workspace::Scope scope(workspace);
  if (rows <= kFewRows) {
    const void* wide = src.raw();
    if (src.dtype() != DType::kF32 && rows > 0) {
      void* room = workspace.TakeBytes(FloatBytes(rows, in));
      ConvertElements(src.raw(), src.dtype(), room, DType::kF32, rows * in);
      wide = room;
    }
    if (rows > 0) MultiplyFewRowsOf(all, static_cast<const float*>(wide));
    return;
  }
  const GemmKernels& kernels = KernelsFor(src.dtype(), weight.dtype());
  const Tiling tiling = TilingOf(rows, in, out, kernels);
  auto* packed_src = static_cast<float*>(workspace.TakeBytes(tiling.src_bytes));
  auto* scratch = static_cast<std::byte*>(workspace.TakeBytes(tiling.thread_bytes() * static_cast<size_t>(Threads())));
  for (int64_t row = 0; row < rows; row += tiling.chunk_rows) {
    Operands chunk = all;
    chunk.src = RowsFrom(all.src, row, std::min(tiling.chunk_rows, rows - row));
    chunk.dst = TargetFrom(all.dst, row, 0);
    MultiplyChunk(chunk, tiling, kernels, packed_src, scratch);
  }
}

size_t GemmWorkspaceBytes(int64_t rows, int64_t in, int64_t out, DType src, DType weight) noexcept {
  if (rows <= kFewRows) return src == DType::kF32 ? 0 : FloatBytes(rows, in);
  const Tiling tiling = TilingOf(rows, in, out, KernelsFor(src, weight));
  return tiling.src_bytes + tiling.thread_bytes() * static_cast<size_t>(Threads());
}

}  // namespace tessera
