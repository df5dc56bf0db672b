#include "attention/ranking.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

namespace tessera {

uint32_t ScoreOrder(float score) noexcept {
  if (std::isnan(score)) return 0;
  const auto bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 becomes 0
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

uint64_t RankOf(float score, uint32_t index) noexcept { return uint64_t{ScoreOrder(score)} << 32 | ~index; }

float ScoreOfRank(uint64_t rank) noexcept {
  const auto order = static_cast<uint32_t>(rank >> 32);
  return std::bit_cast<float>((order & 0x80000000u) != 0 ? order & 0x7FFFFFFFu : ~order);
}

uint64_t KthRank(std::span<uint64_t> ranks, int64_t k) noexcept {
  const auto at = ranks.begin() + (k - 1);
  std::nth_element(ranks.begin(), at, ranks.end(), std::greater<>());
  return *at;
}

}  // namespace tessera
