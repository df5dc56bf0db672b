// Windows over random grids against a mask drawn from coordinates alone.
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "attention/registry.h"
#include "attention/rules.h"
#include "attention/tile_windows.h"
#include "planners_sta/sta_call.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

struct Drawn {
  AttentionProblem problem;
  std::array<int64_t, 3> tile;
  std::array<int32_t, 3> window;

  Options options() const {
    Options options;
    options.Set("tile_size", std::vector<double>(tile.begin(), tile.end()));
    options.Set("window", std::vector<double>(window.begin(), window.end()));
    return options;
  }
  Sees sees() const {
    return [this](int64_t, int, int64_t query, int64_t key) {
      return SeesThroughWindow(*problem.grid, tile, window, query, key);
    };
  }
};

// Grids that tiles divide or not, pictures, text before, behind, on both sides or nowhere.
Drawn Draw(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto draw = [&](int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
  };
  VideoGrid grid{draw(0, 1) == 0 ? 1 : draw(2, 5), draw(1, 11), draw(1, 13), draw(0, 1) * draw(1, 30),
                 draw(0, 1) * draw(1, 30)};
  Drawn drawn{{.batch = draw(1, 2), .heads = 2, .kv_heads = static_cast<int>(draw(1, 2)), .head_dim = 24}, {}, {}};
  drawn.problem.q_len = drawn.problem.kv_len = grid.prefix + grid.t * grid.h * grid.w + grid.suffix;
  drawn.problem.mask = draw(0, 2) == 0 ? kMaskKeyLengths : kMaskNone;
  drawn.problem.grid = grid;
  drawn.tile = {draw(1, 3), draw(1, 5), draw(1, 5)};
  for (int32_t& tiles : drawn.window) tiles = static_cast<int32_t>(2 * draw(0, 3) + 1);
  return drawn;
}

constexpr uint64_t kGrids = 60;

TEST(StaWindows, TokensSeeWhatTheirCoordinatesSay) {
  for (uint64_t seed = 0; seed < kGrids; ++seed) {
    const Drawn drawn = Draw(seed);
    SCOPED_TRACE(Print(drawn.problem));
    StaCall call(drawn.problem, seed);
    const auto plan =
        MakePlan(AttentionRegistry::BuiltIn().Find("sliding_tile_attn"), drawn.problem, CpuDevice(), drawn.options());
    call.Run(*plan);
    if (plan->decision() != nullptr) {
      ASSERT_EQ(plan->decision()->Defect(drawn.problem.batch * 2, drawn.problem.q_len, drawn.problem.kv_len), "");
    }
    const auto pairs = VisiblePairs(drawn.problem, plan->decision());
    const auto length = static_cast<size_t>(drawn.problem.q_len);
    for (size_t n = 0; n < pairs.size(); ++n) {
      ASSERT_EQ(pairs[n],
                drawn.sees()(0, 0, static_cast<int64_t>(n / length % length), static_cast<int64_t>(n % length)));
    }
  }
}

// Bounds of |out - exact| over |exact|, far below what a wrong key would cause.
double BoundOf(const AttentionBackend& backend) {
  return backend.kernel->caps.fidelity == Fidelity::kExact ? 2e-6 : 0.25;
}

TEST(StaWindows, EveryKernelComputesThem) {
  int runs = 0;
  for (const AttentionBackend* backend : AttentionRegistry::BuiltIn().compositions()) {
    if (backend->planner->name != "sliding_tile_attn") continue;
    for (uint64_t seed = 0; seed < kGrids; seed += 3) {
      const Drawn drawn = Draw(seed);
      if (!Refusals(*backend, drawn.problem, CpuDevice()).empty()) continue;
      SCOPED_TRACE(fmt::format("{}: {}", backend->name, Print(drawn.problem)));
      StaCall call(drawn.problem, seed);
      call.Run(*MakePlan(*backend, drawn.problem, CpuDevice(), drawn.options()));
      ASSERT_LE(Compare(call, Solve(call, drawn.sees())).relative, BoundOf(*backend));
      ++runs;
    }
  }
  EXPECT_GE(runs, 20);
}

TEST(StaWindows, ExpectedDensityIsTheShareVisited) {
  for (uint64_t seed = 0; seed < kGrids; ++seed) {
    const Drawn drawn = Draw(seed);
    SCOPED_TRACE(Print(drawn.problem));
    StaCall call(drawn.problem, seed);
    const auto plan =
        MakePlan(AttentionRegistry::BuiltIn().Find("sliding_tile_attn"), drawn.problem, CpuDevice(), drawn.options());
    call.Run(*plan);
    EXPECT_NEAR(plan->ExpectedDensity(3, 4), plan->density(), 1e-12);
    EXPECT_NEAR(plan->ExpectedDensity(-1, -1), plan->density(), 1e-12);
  }
}

TEST(StaWindows, WindowsKeepTheirSizeAtTheBorders) {
  for (int32_t window = 1; window <= 9; window += 2) {
    for (int64_t tiles = 1; tiles <= 8; ++tiles) {
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const TileRange seen = SeenTiles(tile, tiles, window);
        EXPECT_EQ(seen.end - seen.first, std::min<int64_t>(window, tiles));
        EXPECT_TRUE(seen.first >= 0 && seen.first <= tile && tile < seen.end && seen.end <= tiles);
      }
    }
  }
}

TEST(StaWindows, AFullWindowIsDense) {
  const AttentionProblem problem = F32Problem("f32 b1 h2 d24 q125 kv125 grid=3x5x7+9+11");
  const auto& registry = AttentionRegistry::BuiltIn();
  Options options;
  options.Set("tile_size", std::vector<double>{2, 2, 2});
  options.Set("window", std::vector<double>{2, 8, 1000000});
  StaCall windowed(problem, 1), dense(problem, 1);
  windowed.Run(*MakePlan(registry.Find("sliding_tile_attn"), problem, CpuDevice(), options));
  dense.Run(*MakePlan(registry.Find("fa"), problem, CpuDevice(), {}));
  EXPECT_EQ(windowed.out, dense.out);
}

}  // namespace
}  // namespace tessera
