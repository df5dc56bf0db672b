// A total order of scored blocks: larger scores first, equal ones by lower index, NaN last.
#pragma once
#include <cstdint>
#include <span>

namespace tessera {

// Orders like the score: larger for larger scores, equal for -0 and 0, 0 for NaN.
uint32_t ScoreOrder(float score) noexcept;

// Larger ranks come first; all ranks of distinct indices differ.
uint64_t RankOf(float score, uint32_t index) noexcept;

// The score a rank was made from (NaN gives a NaN).
float ScoreOfRank(uint64_t rank) noexcept;

// The k-th largest of `ranks`, 1 <= k <= size; reorders them.
uint64_t KthRank(std::span<uint64_t> ranks, int64_t k) noexcept;

}  // namespace tessera
