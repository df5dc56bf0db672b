#include "attention/block_plan.h"

#include <algorithm>
#include <bit>
#include <span>

namespace tessera {
namespace {

std::span<const int32_t> OffsetsOf(const BlockPlan::Blocks& blocks, int32_t count, int64_t set) {
  return std::span(blocks.offsets).subspan(static_cast<size_t>(set * (count + 1)), static_cast<size_t>(count) + 1);
}

bool AreOffsets(std::span<const int32_t> offsets, int64_t length) {
  for (size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1]) return false;
  }
  return offsets.front() == 0 && offsets.back() == length;
}

bool IsPermutation(std::span<const int32_t> permutation, std::vector<bool>& seen) {
  seen.assign(permutation.size(), false);
  for (const int32_t token : permutation) {
    if (token < 0 || static_cast<size_t>(token) >= seen.size() || seen[static_cast<size_t>(token)]) return false;
    seen[static_cast<size_t>(token)] = true;
  }
  return true;
}

std::string_view BlocksDefect(const BlockPlan::Blocks& blocks, int32_t count, int64_t sets, int64_t length) {
  if (count < 0 || blocks.offsets.size() != static_cast<size_t>(sets * (count + 1)))
    return "offsets have the wrong size";
  for (int64_t set = 0; set < sets; ++set) {
    if (!AreOffsets(OffsetsOf(blocks, count, set), length)) return "offsets do not cover the sequence";
  }
  if (blocks.permutation.empty()) return "";
  if (blocks.permutation.size() != static_cast<size_t>(sets * length)) return "a permutation has the wrong size";
  std::vector<bool> seen;
  for (int64_t set = 0; set < sets; ++set) {
    const auto part =
        std::span(blocks.permutation).subspan(static_cast<size_t>(set * length), static_cast<size_t>(length));
    if (!IsPermutation(part, seen)) return "a permutation does not name every token once";
  }
  return "";
}

std::string_view ListDefect(const BlockPlan& plan, size_t row) {
  const int64_t begin = plan.row_begin[row], end = plan.row_begin[row + 1];
  if (begin > end || end > static_cast<int64_t>(plan.kv_list.size())) return "row_begin is not ascending";
  for (int64_t entry = begin; entry < end; ++entry) {
    const int32_t block = plan.kv_list[static_cast<size_t>(entry)];
    if (block < 0 || block >= plan.kv_blocks) return "kv_list names a block that does not exist";
    if (entry > begin && plan.kv_list[static_cast<size_t>(entry) - 1] >= block)
      return "kv_list of a row is not ascending";
  }
  return "";
}

int32_t LargestBlock(const BlockPlan::Blocks& blocks, int32_t count) {
  int32_t largest = 0;
  for (size_t i = 0; i + 1 < blocks.offsets.size(); ++i) {
    if ((i + 1) % static_cast<size_t>(count + 1) == 0) continue;  // the step to the next set
    largest = std::max(largest, blocks.offsets[i + 1] - blocks.offsets[i]);
  }
  return largest;
}

// Queries of a block of `size` that see the kv block of `entry`.
int64_t SeeingQueries(const BlockPlan& plan, int64_t entry, int64_t size) {
  if (plan.query_masks.empty()) return size;
  int64_t seeing = 0;
  for (int64_t word = 0; word * 64 < size; ++word) {
    uint64_t bits = plan.query_masks[static_cast<size_t>(entry * plan.mask_words + word)];
    if (size - word * 64 < 64) bits &= (uint64_t{1} << (size - word * 64)) - 1;
    seeing += std::popcount(bits);
  }
  return seeing;
}

}  // namespace

double BlockPlan::Density() const noexcept {
  if (q_blocks == 0 || row_begin.size() < 2) return 0;
  const auto rows = static_cast<int64_t>(row_begin.size()) - 1;
  double visited = 0, all = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t set = per_head ? row / q_blocks : 0, block = row % q_blocks;
    const auto q_offsets = OffsetsOf(q, q_blocks, set), kv_offsets = OffsetsOf(kv, kv_blocks, set);
    const int64_t queries = q_offsets[static_cast<size_t>(block) + 1] - q_offsets[static_cast<size_t>(block)];
    for (int64_t entry = row_begin[static_cast<size_t>(row)]; entry < row_begin[static_cast<size_t>(row) + 1];
         ++entry) {
      const auto kv_block = static_cast<size_t>(kv_list[static_cast<size_t>(entry)]);
      visited +=
          static_cast<double>(SeeingQueries(*this, entry, queries)) * (kv_offsets[kv_block + 1] - kv_offsets[kv_block]);
    }
    all += static_cast<double>(queries) * kv_offsets.back();
  }
  return all > 0 ? visited / all : 0;
}

std::string_view BlockPlan::Defect(int64_t batch_heads, int64_t q_len, int64_t kv_len) const noexcept {
  const int64_t sets = per_head ? batch_heads : 1;
  if (const auto defect = BlocksDefect(q, q_blocks, sets, q_len); !defect.empty()) return defect;
  if (const auto defect = BlocksDefect(kv, kv_blocks, sets, kv_len); !defect.empty()) return defect;
  if (row_begin.size() != static_cast<size_t>(batch_heads * q_blocks) + 1 || row_begin.front() != 0 ||
      row_begin.back() != static_cast<int64_t>(kv_list.size())) {
    return "row_begin has the wrong size or ends";
  }
  for (size_t row = 0; row + 1 < row_begin.size(); ++row) {
    if (const auto defect = ListDefect(*this, row); !defect.empty()) return defect;
  }
  if (query_masks.empty()) return "";
  if (mask_words != (LargestBlock(q, q_blocks) + 63) / 64) return "mask_words does not fit the largest q block";
  return query_masks.size() == kv_list.size() * static_cast<size_t>(mask_words) ? "" : "query_masks has the wrong size";
}

}  // namespace tessera
