// Overlapping tiles along one axis, blended linearly where they overlap.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tessera {

// Tiles of equal size `tile` at `starts`, spread evenly; one tile of the axis' own length when it fits.
struct TileAxis {
  int64_t tile = 0;
  std::vector<int64_t> starts;
};
// Neighbours overlap by at least `overlap` < tile.
TileAxis SplitIntoTiles(int64_t length, int64_t tile, int64_t overlap);

// Weights of tile `index` at its tile * scale positions: ramps over the overlaps; over all tiles they sum to 1
// everywhere.
std::vector<float> BlendWeights(const TileAxis& axis, size_t index, int64_t scale);

}  // namespace tessera
