// The kernels that cut rankings against their definition.
#include "kernels/attention/lane_cut.h"

#include <array>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr int32_t kLeast = std::numeric_limits<int32_t>::min(), kMost = std::numeric_limits<int32_t>::max();

struct Table {
  std::vector<int32_t> orders;
  std::vector<float> weights;
  LaneCuts cuts = {};
};

Table Draw(int64_t rows, int32_t spread, uint64_t seed) {
  std::mt19937_64 random(seed);
  Table table;
  std::uniform_int_distribution<int32_t> order(spread == 0 ? kLeast : -spread, spread == 0 ? kMost : spread);
  std::uniform_real_distribution<float> weight(0, 1);
  for (int64_t at = 0; at < rows * kCutLanes; ++at) {
    table.orders.push_back(random() % 8 == 0 ? kLeast : order(random));
    table.weights.push_back(random() % 8 == 0 ? 0 : weight(random));
  }
  const std::array<double, 5> goals = {0, 0.3, 0.2 * static_cast<double>(rows), static_cast<double>(rows),
                                       std::numeric_limits<double>::infinity()};
  for (int lane = 0; lane < kCutLanes; ++lane) table.cuts.goals[lane] = goals[static_cast<size_t>(lane) % goals.size()];
  return table;
}

TEST(LaneCut, EveryKernelCutsLikeTheReference) {
  const std::array<std::pair<Isa, LaneCutKernel>, 3> kernels = {
      {{Isa::kScalar, LaneCutScalar()}, {Isa::kAvx2, LaneCutAvx2()}, {Isa::kAvx512, LaneCutAvx512()}}};
  for (const int64_t rows : {1, 2, 7, 40, 300}) {
    for (const int32_t spread : {0, 3, 100000}) {
      const Table table = Draw(rows, spread, static_cast<uint64_t>(rows));
      LaneCuts expected = table.cuts;
      LaneCutReference({table.orders.data(), table.weights.data(), rows}, &expected);
      for (const auto& [isa, kernel] : kernels) {
        if (isa > MachineIsa()) continue;
        LaneCuts cuts = table.cuts;
        kernel({table.orders.data(), table.weights.data(), rows}, &cuts);
        EXPECT_EQ(std::memcmp(&cuts, &expected, sizeof cuts), 0) << Name(isa) << " " << rows << " " << spread;
      }
    }
  }
}

}  // namespace
}  // namespace tessera
