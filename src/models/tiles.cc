#include "models/tiles.h"

#include <algorithm>

#include "base/check.h"

namespace tessera {
namespace {

// How far a position `from_edge` inside an overlap has faded in, 0..1. The outer eighths belong to one tile alone: what
// a tile shows next to its own edge is marked by the zeros beyond it.
float FadeIn(float from_edge, int64_t overlap) {
  const auto width = static_cast<float>(overlap), margin = width / 8;
  return std::clamp((from_edge - margin) / (width - 2 * margin), 0.0f, 1.0f);
}

// Before normalisation: rises over the overlap with the tile before, falls over the one with the tile after.
float Ramp(const TileAxis& axis, size_t index, int64_t scale, int64_t position) {
  const auto middle = static_cast<float>(position - axis.starts[index] * scale) + 0.5f;
  float ramp = 1.0f;
  if (index > 0) {
    const int64_t overlap = axis.tile - (axis.starts[index] - axis.starts[index - 1]);
    ramp = std::min(ramp, FadeIn(middle, overlap * scale));
  }
  if (index + 1 < axis.starts.size()) {
    const int64_t overlap = axis.tile - (axis.starts[index + 1] - axis.starts[index]);
    ramp = std::min(ramp, FadeIn(static_cast<float>(axis.tile * scale) - middle, overlap * scale));
  }
  return ramp;
}

}  // namespace

TileAxis SplitIntoTiles(int64_t length, int64_t tile, int64_t overlap) {
  TESSERA_CHECK(tile > overlap && overlap > 0);
  if (length <= tile) return {length, {0}};
  const int64_t stride = tile - overlap;
  const int64_t gaps = (length - tile + stride - 1) / stride;
  TileAxis axis{tile, {}};
  for (int64_t i = 0; i <= gaps; ++i) axis.starts.push_back(i * (length - tile) / gaps);
  return axis;
}

std::vector<float> BlendWeights(const TileAxis& axis, size_t index, int64_t scale) {
  std::vector<float> weights;
  for (int64_t i = 0; i < axis.tile * scale; ++i) {
    const int64_t position = axis.starts[index] * scale + i;
    float sum = 0;
    for (size_t other = 0; other < axis.starts.size(); ++other) {
      const int64_t first = axis.starts[other] * scale;
      if (position >= first && position < first + axis.tile * scale) sum += Ramp(axis, other, scale, position);
    }
    weights.push_back(Ramp(axis, index, scale, position) / sum);
  }
  return weights;
}

}  // namespace tessera
