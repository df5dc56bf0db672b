// Mean rows of blocks of tokens, which planners compare in place of the tokens, and products with them.
#pragma once
#include <cstdint>
#include <span>

#include "attention/attention_io.h"
#include "attention/grid_tiles.h"
#include "kernels/attention/exact_tile.h"

namespace tessera {

constexpr int kLanes = kExactLanes;  // rows that are compared with all means at a time

// The kernels of the instruction set in use.
const ExactTileKernels& MeanKernels() noexcept;

// One operand of a call.
struct OperandRows {
  BshdIn rows;
  DType dtype = DType::kF32;
  int64_t batch = 1;
  int heads = 1;
  int head_dim = 0;

  const void* At(int64_t batch_entry, int head, int64_t token) const noexcept;
};

// Means lie in [batch, heads, rows, channels], f32. Rows and channels are rounded up for the kernels; the rest is 0.
struct MeanShape {
  int64_t rows = 0, channels = 0;
  MeanShape() = default;
  MeanShape(int64_t blocks, int head_dim) noexcept;
  int64_t head_floats() const noexcept { return rows * channels; }
};

// Tokens of a batch entry that count: all, or those below its key length.
int64_t VisibleTokens(std::span<const int32_t> key_lengths, int64_t batch_entry) noexcept;

// Visible tokens of every tile: [tiles].
void CountVisible(const GridTiles& grid, int64_t visible_tokens, int32_t* counts) noexcept;

// The mean of the visible tokens of every tile of `grid`, summed in f32; 0 for tiles without any. `scratch` holds
// MeanScratchFloats(head_dim) for each of Threads() threads.
void AverageTiles(const OperandRows& operand, const GridTiles& grid, std::span<const int32_t> key_lengths, float* means,
                  float* scratch) noexcept;
int64_t MeanScratchFloats(int head_dim) noexcept;

// Tokens of one head.
struct HeadTokens {
  int64_t batch_entry = 0;
  int head = 0;
  std::span<const int32_t> tokens;
};

// Their rows as floats: rows[i * channels + d], 0 from head_dim on.
void GatherRows(const OperandRows& operand, const HeadTokens& of, int64_t channels, float* rows) noexcept;

// Transposes up to kLanes rows of `channels` floats: lanes[d * kLanes + i] = row i, channel d.
void IntoLanes(const float* rows, int count, int64_t channels, float* lanes) noexcept;

// The nearest bf16 values.
void RoundToBf16(float* values, int64_t count) noexcept;

}  // namespace tessera
