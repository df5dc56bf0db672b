// A video grid cut into tiles, for planners that decide by neighbourhood: positions in which every tile is one block.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "attention/problem.h"

namespace tessera {

// Tokens along t, h and w.
using TileSize = std::array<int64_t, 3>;

// `tokens` in tiles of `size`; the last tile holds what is left.
struct TileAxis {
  int64_t tokens = 0, size = 1;
  int64_t tiles() const noexcept { return (tokens + size - 1) / size; }
  int64_t TokensOf(int64_t tile) const noexcept { return tile + 1 < tiles() ? size : tokens - tile * size; }
};

// Positions: the tiles in (t, h, w) order, the tokens of each in (t, h, w) order, then the prefix, then the suffix (so
// that text of any length leaves the tiles aligned). Tiles at the far borders may be partial; nothing is padded.
// Blocks: tile (t, h, w) is block (t * axes[1].tiles() + h) * axes[2].tiles() + w; text follows in blocks of its own,
// none of them with both prefix and suffix.
struct GridTiles {
  std::array<TileAxis, 3> axes;  // t, h, w
  int64_t prefix = 0, suffix = 0;
  int32_t tiles = 0, text_blocks = 0;
  std::vector<int32_t> offsets;      // [tiles + text_blocks + 1]: block n covers positions [offsets[n], offsets[n + 1])
  std::vector<int32_t> permutation;  // [tokens]: position -> token

  int32_t blocks() const noexcept { return tiles + text_blocks; }
  int64_t video_tokens() const noexcept { return offsets[static_cast<size_t>(tiles)]; }
  int64_t tokens() const noexcept { return offsets.back(); }
  int64_t text_tokens() const noexcept { return prefix + suffix; }
  // Position = token everywhere: planners may leave a permutation out.
  bool keeps_order() const noexcept;
};

// Tiles larger than the grid are cut to it. Text blocks hold at most `most_text` tokens. The grid has at least one
// video token and fewer than 2^31 tokens in all; sizes are at least 1.
GridTiles CutIntoTiles(const VideoGrid& grid, const TileSize& size, int64_t most_text = 256);

}  // namespace tessera
