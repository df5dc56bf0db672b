#include "models/tiles.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Tiles, ShortAxesAreOneTile) {
  const TileAxis axis = SplitIntoTiles(37, 64, 16);
  EXPECT_EQ(axis.tile, 37);
  EXPECT_EQ(axis.starts, std::vector<int64_t>{0});
}

TEST(Tiles, CoverTheAxisAndOverlapEnough) {
  for (int64_t length = 65; length < 400; ++length) {
    const TileAxis axis = SplitIntoTiles(length, 64, 16);
    EXPECT_EQ(axis.starts.front(), 0);
    EXPECT_EQ(axis.starts.back() + axis.tile, length);
    for (size_t i = 1; i < axis.starts.size(); ++i) {
      EXPECT_LE(axis.starts[i], axis.starts[i - 1] + axis.tile - 16) << length;
      EXPECT_GT(axis.starts[i], axis.starts[i - 1]) << length;
    }
  }
}

TEST(Tiles, WeightsSumToOneAndFadeAtInnerEdges) {
  for (const int64_t length : {64, 65, 80, 113, 200, 333}) {
    for (const int64_t scale : {1, 8}) {
      const TileAxis axis = SplitIntoTiles(length, 64, 16);
      std::vector<float> sums(static_cast<size_t>(length * scale), 0.0f);
      for (size_t i = 0; i < axis.starts.size(); ++i) {
        const std::vector<float> weights = BlendWeights(axis, i, scale);
        ASSERT_EQ(weights.size(), static_cast<size_t>(axis.tile * scale));
        for (size_t j = 0; j < weights.size(); ++j) sums[static_cast<size_t>(axis.starts[i] * scale) + j] += weights[j];
        EXPECT_EQ(weights.front() < 0.1f, i > 0);
        EXPECT_EQ(weights.back() < 0.1f, i + 1 < axis.starts.size());
      }
      for (const float sum : sums) EXPECT_NEAR(sum, 1.0f, 1e-6f) << length;
    }
  }
}

}  // namespace
}  // namespace tessera
