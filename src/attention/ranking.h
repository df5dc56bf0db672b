// A total order of scored blocks: larger scores first, equal ones by lower index, NaN last.
#pragma once
#include <bit>
#include <cstdint>
#include <span>

namespace tessera {

// Orders like the score: larger for larger scores, equal for -0 and 0, 0 for NaN.
inline uint32_t ScoreOrder(float score) noexcept {
  const auto bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 becomes 0
  const uint32_t order = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return score == score ? order : 0;
}

// Larger ranks come first; all ranks of distinct indices differ, none is 0.
inline uint64_t RankOf(float score, uint32_t index) noexcept { return uint64_t{ScoreOrder(score)} << 32 | ~index; }

// The score a rank was made from (NaN gives a NaN).
inline float ScoreOfRank(uint64_t rank) noexcept {
  const auto order = static_cast<uint32_t>(rank >> 32);
  return std::bit_cast<float>((order & 0x80000000u) != 0 ? order & 0x7FFFFFFFu : ~order);
}

// The k-th largest of `ranks`, 1 <= k <= size; reorders them.
uint64_t KthRank(std::span<uint64_t> ranks, int64_t k) noexcept;

}  // namespace tessera
