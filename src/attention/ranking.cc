#include "attention/ranking.h"

#include <algorithm>
#include <functional>

namespace tessera {

uint64_t KthRank(std::span<uint64_t> ranks, int64_t k) noexcept {
  const auto at = ranks.begin() + (k - 1);
  std::nth_element(ranks.begin(), at, ranks.end(), std::greater<>());
  return *at;
}

}  // namespace tessera
