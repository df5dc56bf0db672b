#include "attention/cluster_map.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace tessera {
namespace {

constexpr size_t kLeastSorted = 32;  // sorted at a time: few clusters hold most of the mass

// Ascending keys are descending masses, then ascending clusters.
uint64_t KeyOf(float mass, size_t cluster) {
  return static_cast<uint64_t>(~std::bit_cast<uint32_t>(mass)) << 32 | cluster;
}
float MassOf(uint64_t key) { return std::bit_cast<float>(~static_cast<uint32_t>(key >> 32)); }

}  // namespace

int32_t KeepTopMass(std::span<const float> mass, float total, const TopMass& top, std::span<uint64_t> order,
                    std::span<uint64_t> kept) noexcept {
  const size_t clusters = mass.size();
  const auto least = static_cast<size_t>(std::floor(top.least_kept * static_cast<double>(clusters)));
  std::fill(kept.begin(), kept.end(), 0);
  for (size_t n = 0; n < clusters; ++n) order[n] = KeyOf(mass[n], n);
  const double divisor = std::max(static_cast<double>(total), 1e-12);
  double before = 0;
  size_t sorted = 0, n = 0;
  for (; n < clusters; ++n) {
    if (n > 0 && n >= least && top.share < 1 && !(before <= top.share)) break;
    if (n == sorted) {
      const auto begin = order.begin() + static_cast<ptrdiff_t>(sorted);
      sorted = std::min(clusters, sorted + std::max(kLeastSorted, sorted));
      const auto end = order.begin() + static_cast<ptrdiff_t>(sorted);
      if (end != order.end()) std::nth_element(begin, end, order.end());
      std::sort(begin, end);
    }
    const auto cluster = static_cast<size_t>(order[n] & 0xFFFFFFFF);
    kept[cluster / 64] |= uint64_t{1} << cluster % 64;
    before += MassOf(order[n]) / divisor;
  }
  return static_cast<int32_t>(n);
}

}  // namespace tessera
