// Windows of tiles that slide over a tiled grid, one per head, as block lists (Sliding Tile Attention,
// arXiv:2502.04507).
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "attention/block_plan.h"
#include "attention/grid_tiles.h"

namespace tessera {

// Tiles along t, h and w that a query tile sees. An axis with no more tiles than that is seen whole; on longer axes the
// number is odd and the window moves inwards at the borders, so that it never shrinks.
using TileWindow = std::array<int32_t, 3>;

struct TileRange {
  int64_t first = 0, end = 0;
};
// Key tiles that query tile `tile` sees on an axis of `tiles`.
TileRange SeenTiles(int64_t tile, int64_t tiles, int32_t window) noexcept;

TileWindow FullWindow(const std::array<TileAxis, 3>& axes) noexcept;
bool IsFull(const TileWindow& window, const std::array<TileAxis, 3>& axes) noexcept;
// The axis ("t", "h", "w") on which a window is even though it does not reach over the grid; "": a fine window.
std::string_view EvenAxis(const TileWindow& window, const std::array<TileAxis, 3>& axes) noexcept;

// Share of the query-key pairs that a head visits; text sees all and is seen by all.
double WindowDensity(const TileWindow& window, const std::array<TileAxis, 3>& axes, int64_t text_tokens) noexcept;
// Blocks that all query blocks of a head visit together.
double VisitedBlocks(const TileWindow& window, const GridTiles& tiles) noexcept;

// The block plan of one window per head, kept while the windows stay the same.
class WindowBlocks {
 public:
  WindowBlocks(GridTiles tiles, int64_t batch, int heads);  // may throw Error{kUnsupported}

  const GridTiles& tiles() const noexcept { return tiles_; }
  // For lists of up to `blocks` entries for the heads of one sample together. May throw Error{kUnsupported}.
  void Reserve(double blocks);
  // `windows`: one per head, within what was reserved. Allocates nothing. Null when all of them are full.
  const BlockPlan* For(std::span<const TileWindow> windows) noexcept;

 private:
  void AppendHead(const TileWindow& window) noexcept;

  const GridTiles tiles_;
  const int64_t batch_;
  BlockPlan plan_;
  std::vector<TileWindow> windows_;  // of the plan
  bool is_made_ = false;
};

}  // namespace tessera
