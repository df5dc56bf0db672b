#include "attention/block_means.h"

#include <algorithm>
#include <limits>

#include "base/round_up.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr int64_t kTilesPerItem = 8;

void Widen(const ExactTileKernels& kernels, DType dtype, const void* from, float* to, int64_t count) {
  if (dtype == DType::kF32) return kernels.widen_f32(from, to, count);
  if (dtype == DType::kBF16) return kernels.widen_bf16(from, to, count);
  kernels.widen_f16(from, to, count);
}

// One head of an operand.
struct Head {
  const OperandRows& operand;
  int64_t batch_entry;
  int head;
  int64_t visible;
};

void AverageTile(const Head& of, std::span<const int32_t> tokens, float* mean, float* row) {
  const ExactTileKernels& kernels = MeanKernels();
  const int channels = of.operand.head_dim;
  int64_t count = 0;
  for (const int32_t token : tokens) {
    if (token >= of.visible) continue;
    const void* from = of.operand.At(of.batch_entry, of.head, token);
    if (count++ == 0) {
      Widen(kernels, of.operand.dtype, from, mean, channels);
      continue;
    }
    const float* add = row;
    if (of.operand.dtype == DType::kF32) {
      add = static_cast<const float*>(from);
    } else {
      Widen(kernels, of.operand.dtype, from, row, channels);
    }
    for (int d = 0; d < channels; ++d) mean[d] += add[d];
  }
  if (count == 0) std::fill_n(mean, channels, 0.0f);
  const auto divisor = static_cast<float>(std::max<int64_t>(count, 1));
  for (int d = 0; d < channels; ++d) mean[d] /= divisor;
}

}  // namespace

const ExactTileKernels& MeanKernels() noexcept {
  const Isa isa = ActiveIsa();
  return isa >= Isa::kAvx512 ? ExactTileAvx512() : isa >= Isa::kAvx2 ? ExactTileAvx2() : ExactTileScalar();
}

const void* OperandRows::At(int64_t batch_entry, int head, int64_t token) const noexcept {
  const int64_t element = batch_entry * rows.batch_stride + token * rows.seq_stride + head * rows.head_stride;
  return static_cast<const std::byte*>(rows.elements) + element * static_cast<int64_t>(SizeOf(dtype));
}

MeanShape::MeanShape(int64_t blocks, int head_dim) noexcept
    : rows(RoundUp(blocks, kExactRows)), channels(RoundUp(head_dim, kExactRows)) {}

int64_t VisibleTokens(std::span<const int32_t> key_lengths, int64_t batch_entry) noexcept {
  if (key_lengths.empty()) return std::numeric_limits<int64_t>::max();
  return std::max(key_lengths[static_cast<size_t>(batch_entry)], 0);
}

void CountVisible(const GridTiles& grid, int64_t visible_tokens, int32_t* counts) noexcept {
  for (int32_t tile = 0; tile < grid.tiles; ++tile) {
    const auto begin = grid.permutation.begin() + grid.offsets[static_cast<size_t>(tile)];
    const auto end = grid.permutation.begin() + grid.offsets[static_cast<size_t>(tile) + 1];
    counts[tile] = static_cast<int32_t>(std::count_if(begin, end, [&](int32_t t) { return t < visible_tokens; }));
  }
}

int64_t MeanScratchFloats(int head_dim) noexcept { return RoundUp(head_dim, 16); }

void AverageTiles(const OperandRows& operand, const GridTiles& grid, std::span<const int32_t> key_lengths, float* means,
                  float* scratch) noexcept {
  const MeanShape shape(grid.tiles, operand.head_dim);
  const int64_t items = (shape.rows + kTilesPerItem - 1) / kTilesPerItem;
  const std::span<const int32_t> permutation(grid.permutation);
  ParallelItems(operand.batch * operand.heads * items, [&](int64_t item, int thread) {
    const int64_t head = item / items, first = item % items * kTilesPerItem;
    const int64_t batch_entry = head / operand.heads;
    const Head of{operand, batch_entry, static_cast<int>(head % operand.heads),
                  VisibleTokens(key_lengths, batch_entry)};
    for (int64_t tile = first; tile < std::min(first + kTilesPerItem, shape.rows); ++tile) {
      float* mean = means + head * shape.head_floats() + tile * shape.channels;
      std::fill(mean + (tile < grid.tiles ? operand.head_dim : 0), mean + shape.channels, 0.0f);
      if (tile >= grid.tiles) continue;
      const auto begin = static_cast<size_t>(grid.offsets[static_cast<size_t>(tile)]);
      const auto end = static_cast<size_t>(grid.offsets[static_cast<size_t>(tile) + 1]);
      AverageTile(of, permutation.subspan(begin, end - begin), mean,
                  scratch + thread * MeanScratchFloats(operand.head_dim));
    }
  });
}

void GatherRows(const OperandRows& operand, const HeadTokens& of, int64_t channels, float* rows) noexcept {
  for (const int32_t token : of.tokens) {
    Widen(MeanKernels(), operand.dtype, operand.At(of.batch_entry, of.head, token), rows, operand.head_dim);
    std::fill(rows + operand.head_dim, rows + channels, 0.0f);
    rows += channels;
  }
}

void IntoLanes(const float* rows, int count, int64_t channels, float* lanes) noexcept {
  for (int64_t d = 0; d < channels; ++d) {
    for (int i = 0; i < count; ++i) lanes[d * kLanes + i] = rows[i * channels + d];
    std::fill(lanes + d * kLanes + count, lanes + (d + 1) * kLanes, 0.0f);
  }
}

void RoundToBf16(float* values, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) values[i] = ToFloat(ToBFloat16(values[i]));
}

}  // namespace tessera
