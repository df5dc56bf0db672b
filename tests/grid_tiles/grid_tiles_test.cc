// Tiles of any grid: every token once, in the block that its coordinates name.
#include "attention/grid_tiles.h"

#include <algorithm>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

namespace tessera {
namespace {

struct Cut {
  VideoGrid grid;
  TileSize size;
  int64_t most_text;
};

Cut RandomCut(std::mt19937_64& random) {
  const auto draw = [&](int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
  };
  return {{draw(1, 7), draw(1, 12), draw(1, 12), draw(0, 1) * draw(0, 40), draw(0, 1) * draw(0, 40)},
          {draw(1, 8), draw(1, 9), draw(1, 9)},
          draw(1, 20)};
}

constexpr int kCuts = 200;

TEST(GridTiles, EveryTokenHasOnePosition) {
  std::mt19937_64 random(1);
  for (int n = 0; n < kCuts; ++n) {
    const Cut cut = RandomCut(random);
    const GridTiles tiles = CutIntoTiles(cut.grid, cut.size, cut.most_text);
    std::vector<int32_t> sorted = tiles.permutation, all(sorted.size());
    std::sort(sorted.begin(), sorted.end());
    std::iota(all.begin(), all.end(), 0);
    ASSERT_EQ(sorted, all);
    ASSERT_EQ(tiles.tokens(), cut.grid.prefix + cut.grid.t * cut.grid.h * cut.grid.w + cut.grid.suffix);
  }
}

TEST(GridTiles, VideoTokensLieInTheTileOfTheirCoordinates) {
  std::mt19937_64 random(2);
  for (int n = 0; n < kCuts; ++n) {
    const auto [grid, size, most_text] = RandomCut(random);
    const GridTiles tiles = CutIntoTiles(grid, size, most_text);
    const int64_t th = (grid.h + size[1] - 1) / size[1], tw = (grid.w + size[2] - 1) / size[2];
    for (int32_t tile = 0; tile < tiles.tiles; ++tile) {
      const auto begin = tiles.permutation.begin() + tiles.offsets[static_cast<size_t>(tile)];
      const auto end = tiles.permutation.begin() + tiles.offsets[static_cast<size_t>(tile) + 1];
      ASSERT_LT(begin, end);
      ASSERT_TRUE(std::is_sorted(begin, end)) << "tokens of a tile keep the order of the raster";
      for (auto at = begin; at != end; ++at) {
        const int64_t token = *at - grid.prefix;
        const int64_t t = token / (grid.h * grid.w), h = token / grid.w % grid.h, w = token % grid.w;
        ASSERT_EQ((t / size[0] * th + h / size[1]) * tw + w / size[2], tile);
      }
    }
  }
}

TEST(GridTiles, TextFollowsInBlocksOfItsOwn) {
  std::mt19937_64 random(3);
  for (int n = 0; n < kCuts; ++n) {
    const auto [grid, size, most_text] = RandomCut(random);
    const GridTiles tiles = CutIntoTiles(grid, size, most_text);
    const auto blocks_of = [most = most_text](int64_t tokens) { return (tokens + most - 1) / most; };
    ASSERT_EQ(tiles.text_blocks, blocks_of(grid.prefix) + blocks_of(grid.suffix));
    for (int32_t block = tiles.tiles; block < tiles.blocks(); ++block) {
      const auto begin = static_cast<size_t>(tiles.offsets[static_cast<size_t>(block)]);
      const auto end = static_cast<size_t>(tiles.offsets[static_cast<size_t>(block) + 1]);
      ASSERT_LE(static_cast<int64_t>(end - begin), most_text);
      const bool of_prefix = block - tiles.tiles < blocks_of(grid.prefix);
      for (size_t position = begin; position < end; ++position) {
        ASSERT_EQ(tiles.permutation[position] < grid.prefix, of_prefix);
      }
    }
  }
}

TEST(GridTiles, AxesCountTheTokensOfPartialTiles) {
  const GridTiles tiles = CutIntoTiles({.t = 5, .h = 8, .w = 3}, {2, 4, 8});
  EXPECT_EQ(tiles.axes[0].tiles(), 3);
  EXPECT_EQ(tiles.axes[0].TokensOf(1), 2);
  EXPECT_EQ(tiles.axes[0].TokensOf(2), 1);
  EXPECT_EQ(tiles.axes[1].TokensOf(1), 4);
  EXPECT_EQ(tiles.axes[2].tiles(), 1);
  EXPECT_EQ(tiles.axes[2].TokensOf(0), 3);
}

TEST(GridTiles, OneTileKeepsTheOrder) {
  EXPECT_TRUE(CutIntoTiles({.t = 3, .h = 4, .w = 5, .suffix = 6}, {6, 8, 8}).keeps_order());
  EXPECT_FALSE(CutIntoTiles({.t = 3, .h = 4, .w = 5, .prefix = 6}, {6, 8, 8}).keeps_order());
  EXPECT_FALSE(CutIntoTiles({.t = 1, .h = 4, .w = 4}, {1, 2, 2}).keeps_order());
}

}  // namespace
}  // namespace tessera
