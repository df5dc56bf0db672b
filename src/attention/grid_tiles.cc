#include "attention/grid_tiles.h"

#include <algorithm>

#include "base/check.h"

namespace tessera {
namespace {

struct Range {
  int64_t begin, end;
};

Range TokensOf(const TileAxis& axis, int64_t tile) {
  return {tile * axis.size, std::min((tile + 1) * axis.size, axis.tokens)};
}

void AppendTile(GridTiles& cut, const Range& t, const Range& h, const Range& w) {
  for (int64_t frame = t.begin; frame < t.end; ++frame) {
    for (int64_t row = h.begin; row < h.end; ++row) {
      const int64_t first = cut.prefix + (frame * cut.axes[1].tokens + row) * cut.axes[2].tokens;
      for (int64_t column = w.begin; column < w.end; ++column) {
        cut.permutation.push_back(static_cast<int32_t>(first + column));
      }
    }
  }
  cut.offsets.push_back(static_cast<int32_t>(cut.permutation.size()));
}

// Tokens [begin, begin + count) in blocks of at most `most`.
void AppendText(GridTiles& cut, int64_t begin, int64_t count, int64_t most) {
  for (int64_t done = 0; done < count;) {
    const int64_t next = std::min(done + most, count);
    for (; done < next; ++done) cut.permutation.push_back(static_cast<int32_t>(begin + done));
    cut.offsets.push_back(static_cast<int32_t>(cut.permutation.size()));
    ++cut.text_blocks;
  }
}

}  // namespace

bool GridTiles::keeps_order() const noexcept {
  for (size_t position = 0; position < permutation.size(); ++position) {
    if (permutation[position] != static_cast<int32_t>(position)) return false;
  }
  return true;
}

GridTiles CutIntoTiles(const VideoGrid& grid, const TileSize& size, int64_t most_text) {
  GridTiles cut;
  const TileSize tokens = {grid.t, grid.h, grid.w};
  for (size_t axis = 0; axis < tokens.size(); ++axis) {
    TESSERA_CHECK(tokens[axis] > 0 && size[axis] > 0);
    cut.axes[axis] = {tokens[axis], std::min(size[axis], tokens[axis])};
  }
  TESSERA_CHECK(most_text > 0);
  cut.prefix = grid.prefix;
  cut.suffix = grid.suffix;
  const int64_t video = grid.t * grid.h * grid.w;
  cut.permutation.reserve(static_cast<size_t>(grid.prefix + video + grid.suffix));
  const auto& [t, h, w] = cut.axes;
  cut.tiles = static_cast<int32_t>(t.tiles() * h.tiles() * w.tiles());
  cut.offsets.reserve(static_cast<size_t>(cut.tiles) + 1);
  cut.offsets.push_back(0);
  for (int64_t it = 0; it < t.tiles(); ++it) {
    for (int64_t ih = 0; ih < h.tiles(); ++ih) {
      for (int64_t iw = 0; iw < w.tiles(); ++iw) AppendTile(cut, TokensOf(t, it), TokensOf(h, ih), TokensOf(w, iw));
    }
  }
  AppendText(cut, 0, grid.prefix, most_text);
  AppendText(cut, grid.prefix + video, grid.suffix, most_text);
  return cut;
}

}  // namespace tessera
