#include "attention/block_walk.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace tessera {
namespace {

constexpr uint64_t kAll = ~uint64_t{0};
constexpr MaskFeatures kOrderedMasks = kMaskCausal | kMaskCausalTopLeft | kMaskVarlen;

// Bits [begin, end) of a word, 0 <= begin and end <= 64.
uint64_t BitRange(int64_t begin, int64_t end) {
  if (begin >= end) return 0;
  return kAll >> (kWalkBlock - (end - begin)) << begin;
}

std::span<const int32_t> HeadPart(const std::vector<int32_t>& values, bool per_head, size_t length, int64_t head) {
  return std::span(values).subspan(per_head ? static_cast<size_t>(head) * length : 0, length);
}

int64_t TokenAt(const BlockPlan& plan, const std::vector<int32_t>& permutation, int64_t length, int64_t head,
                int64_t position) {
  if (permutation.empty()) return position;
  return permutation[static_cast<size_t>((plan.per_head ? head * length : 0) + position)];
}

// Without the tiles that are not filled.
KeyRange Inner(const KeyRange& range) {
  return {(range.begin + kWalkTile - 1) / kWalkTile * kWalkTile, range.end / kWalkTile * kWalkTile};
}

}  // namespace

BlockWalk::BlockWalk(const AttentionProblem& problem, const AttentionIO& io) noexcept
    : problem_(problem),
      io_(io),
      windows_(io.blocks != nullptr ? io.blocks->q_blocks : (problem.q_len + kWalkBlock - 1) / kWalkBlock) {
  if (io.blocks == nullptr) return;
  const bool permutes = !io.blocks->q.permutation.empty() || !io.blocks->kv.permutation.empty();
  TESSERA_CHECK(!permutes || (problem.mask & (kMaskCausal | kMaskCausalTopLeft | kMaskVarlen)) == 0);
}

bool BlockWalk::shares_keys() const noexcept {
  return io_.blocks != nullptr && io_.blocks->mask_words == 0 && (problem_.mask & kOrderedMasks) == 0;
}

bool BlockWalk::chooses_by_query() const noexcept {
  return io_.blocks != nullptr && io_.blocks->mask_words > 0 && (problem_.mask & kOrderedMasks) == 0;
}

int64_t BlockWalk::WindowLength(int64_t window, const QueryBlock& block) const noexcept {
  const BlockPlan& plan = *io_.blocks;
  const auto offsets = HeadPart(plan.q.offsets, plan.per_head, static_cast<size_t>(plan.q_blocks) + 1,
                                HeadIndex(block.batch, block.head));
  return offsets[static_cast<size_t>(window) + 1] - offsets[static_cast<size_t>(window)];
}

uint64_t BlockWalk::QueriesOf(int64_t entry, int64_t word) const noexcept {
  return io_.blocks->query_masks[static_cast<size_t>(entry * io_.blocks->mask_words + word)];
}

int64_t BlockWalk::KeysOf(const QueryBlock& block, int64_t entry) const noexcept {
  KeyRange range;
  return NextRange(block, &entry, &range) ? std::max<int64_t>(range.end - range.begin, 0) : 0;
}

bool BlockWalk::permutes_keys_per_head() const noexcept {
  return io_.blocks != nullptr && io_.blocks->per_head && !io_.blocks->kv.permutation.empty();
}

int64_t BlockWalk::VisibleKeys(int64_t batch) const noexcept {
  int64_t length = problem_.kv_len;
  if ((problem_.mask & kMaskKeyLengths) != 0) {
    length = std::clamp<int64_t>(io_.key_lengths[static_cast<size_t>(batch)], 0, length);
  }
  if ((problem_.mask & kMaskVarlen) != 0) length = std::min<int64_t>(length, io_.cu_seqlens_k.back());
  return length;
}

QueryRange BlockWalk::Around(int64_t window, const QueryBlock& block, int64_t chunk) const noexcept {
  QueryRange range{0, problem_.q_len};
  if (chunk != INT64_MAX) {
    if (io_.blocks != nullptr) {
      const BlockPlan& plan = *io_.blocks;
      const auto offsets = HeadPart(plan.q.offsets, plan.per_head, static_cast<size_t>(plan.q_blocks) + 1,
                                    HeadIndex(block.batch, block.head));
      range = {offsets[static_cast<size_t>(window)], offsets[static_cast<size_t>(window) + 1]};
    }
    range.begin += (block.first - range.begin) / chunk * chunk;
    range.end = std::min(range.begin + chunk, range.end);
  }
  if ((problem_.mask & kMaskVarlen) == 0) return range;
  const auto after = std::upper_bound(io_.cu_seqlens_q.begin(), io_.cu_seqlens_q.end(), block.first);
  if (after == io_.cu_seqlens_q.end()) return {block.first, block.first + block.count};
  return {std::max<int64_t>(range.begin, *(after - 1)), std::min<int64_t>(range.end, *after)};
}

int64_t BlockWalk::QueryToken(const QueryBlock& block, int query) const noexcept {
  const int64_t position = block.first + query;
  if (io_.blocks == nullptr) return position;
  const int64_t head = HeadIndex(block.batch, block.head);
  return TokenAt(*io_.blocks, io_.blocks->q.permutation, problem_.q_len, head, position);
}

int64_t BlockWalk::KeyToken(int64_t batch, int head, int64_t position) const noexcept {
  if (position >= problem_.kv_len) return -1;
  const int64_t token = io_.blocks == nullptr ? position
                                              : TokenAt(*io_.blocks, io_.blocks->kv.permutation, problem_.kv_len,
                                                        HeadIndex(batch, head), position);
  return token < VisibleKeys(batch) ? token : -1;
}

// Masks that do not depend on the planner. With a permutation the key lengths are looked up token by token instead.
void BlockWalk::Limit(QueryBlock* block) const noexcept {
  const bool permuted = io_.blocks != nullptr && !io_.blocks->kv.permutation.empty();
  block->key_begin = 0;
  block->key_end = permuted ? problem_.kv_len : VisibleKeys(block->batch);
  block->diagonal = INT64_MAX;
  if ((problem_.mask & kMaskCausal) != 0) block->diagonal = problem_.kv_len - problem_.q_len;
  if ((problem_.mask & kMaskCausalTopLeft) != 0) block->diagonal = std::min<int64_t>(block->diagonal, 0);
  if ((problem_.mask & kMaskVarlen) != 0) LimitToSequence(block, block->first + block->count);
}

// Cuts the block where its sequence ends; queries after the last sequence see nothing.
void BlockWalk::LimitToSequence(QueryBlock* block, int64_t window_end) const noexcept {
  const auto queries = io_.cu_seqlens_q, keys = io_.cu_seqlens_k;
  const auto after = std::upper_bound(queries.begin(), queries.end(), block->first);
  if (after == queries.end()) {
    block->key_end = 0;
    return;
  }
  const auto sequence = static_cast<size_t>(after - queries.begin()) - 1;
  block->count = static_cast<int>(std::min<int64_t>(*after, window_end) - block->first);
  block->key_begin = keys[sequence];
  block->key_end = std::min<int64_t>(keys[sequence + 1], block->key_end);
  const int64_t q_begin = queries[sequence], q_len = *after - q_begin;
  const int64_t top_left = block->key_begin - q_begin;
  block->diagonal = INT64_MAX;
  if ((problem_.mask & kMaskCausal) != 0) block->diagonal = top_left + keys[sequence + 1] - block->key_begin - q_len;
  if ((problem_.mask & kMaskCausalTopLeft) != 0) block->diagonal = std::min(block->diagonal, top_left);
}

bool BlockWalk::NextBlock(int64_t window, QueryBlock* block) const noexcept {
  if (io_.blocks != nullptr) return NextPlanned(window, block);
  block->first = block->count == 0 ? window * kWalkBlock : block->first + block->count;
  const int64_t end = std::min((window + 1) * kWalkBlock, problem_.q_len);
  if (block->first >= end) return false;
  block->count = static_cast<int>(end - block->first);
  Limit(block);
  return true;
}

bool BlockWalk::NextPlanned(int64_t window, QueryBlock* block) const noexcept {
  const BlockPlan& plan = *io_.blocks;
  const int64_t head = HeadIndex(block->batch, block->head);
  const auto offsets = HeadPart(plan.q.offsets, plan.per_head, static_cast<size_t>(plan.q_blocks) + 1, head);
  const int64_t begin = offsets[static_cast<size_t>(window)], end = offsets[static_cast<size_t>(window) + 1];
  block->first = block->count == 0 ? begin : block->first + block->count;
  if (block->first >= end) return false;
  block->count =
      static_cast<int>(std::min<int64_t>(end - block->first, kWalkBlock - (block->first - begin) % kWalkBlock));
  block->mask_word = static_cast<int>((block->first - begin) / kWalkBlock);
  const auto row = static_cast<size_t>(head * plan.q_blocks + window);
  block->entry_begin = plan.row_begin[row];
  block->entry_end = plan.row_begin[row + 1];
  Limit(block);
  return true;
}

PanelCursor::PanelCursor(const BlockWalk& walk, const QueryBlock& block) noexcept
    : walk_(walk), block_(block), entry_(block.entry_begin), position_(0), range_end_(0) {
  if (walk.io_.blocks != nullptr) return;
  position_ = block.key_begin;
  range_end_ = block.key_end;
}

bool BlockWalk::NextRange(const QueryBlock& block, int64_t* entry, KeyRange* range) const noexcept {
  if (io_.blocks == nullptr || *entry >= block.entry_end) return false;
  const BlockPlan& plan = *io_.blocks;
  const auto offsets = HeadPart(plan.kv.offsets, plan.per_head, static_cast<size_t>(plan.kv_blocks) + 1,
                                HeadIndex(block.batch, block.head));
  const auto block_at = [&](int64_t at) { return static_cast<size_t>(plan.kv_list[static_cast<size_t>(at)]); };
  size_t last = block_at(*entry);
  range->begin = std::max<int64_t>(offsets[last], block.key_begin);
  const bool joins = plan.mask_words == 0;
  const int64_t end = *entry < block.inner_end ? block.inner_end : block.entry_end;
  while (joins && *entry + 1 < end && block_at(*entry + 1) == last + 1) {
    ++*entry;
    ++last;
  }
  range->end = std::min<int64_t>(offsets[last + 1], block.key_end);
  ++*entry;
  return true;
}

// Moves to the next kv blocks of the plan's list; false when there are none.
bool PanelCursor::NextRange() noexcept {
  const int64_t entry = entry_;
  KeyRange range;
  if (!walk_.NextRange(block_, &entry_, &range)) return false;
  if (entry < block_.inner_end) range = Inner(range);
  position_ = range.begin;
  range_end_ = range.end;
  const BlockPlan& plan = *walk_.io_.blocks;
  if (plan.mask_words > 0 && block_.mask_word != kNoMask) {
    queries_ = plan.query_masks[static_cast<size_t>(entry * plan.mask_words + block_.mask_word)];
  }
  return true;
}

// Of the current range, what lies in `panel`.
PanelVisit PanelCursor::VisitAt(int64_t panel) const noexcept {
  const int64_t begin = panel * kWalkBlock;
  int64_t end = std::min<int64_t>(range_end_ - begin, kWalkBlock);
  PanelVisit visit{panel, 0, queries_, kWalkBlock};
  if (block_.diagonal != INT64_MAX) {
    const int64_t diagonal = block_.first + block_.diagonal - begin;
    visit.diagonal = static_cast<int32_t>(std::clamp<int64_t>(diagonal, -kWalkBlock, kWalkBlock));
    end = std::min(end, visit.diagonal + int64_t{block_.count});
  }
  visit.keys = BitRange(position_ - begin, end);
  const bool permuted = walk_.io_.blocks != nullptr && !walk_.io_.blocks->kv.permutation.empty();
  if (!permuted || (walk_.problem_.mask & kMaskKeyLengths) == 0) return visit;
  for (int64_t j = position_ - begin; j < end; ++j) {
    if (walk_.KeyToken(block_.batch, block_.head, begin + j) < 0) visit.keys &= ~(uint64_t{1} << j);
  }
  return visit;
}

// Visits of a panel are one unless a tile between them is empty, which a kernel would compute.
bool PanelCursor::Extends(const PanelVisit& last, const PanelVisit& visit) const noexcept {
  if (last.panel != visit.panel || last.queries != visit.queries || visit.keys == 0) return false;
  const int last_tile = (kWalkBlock - 1 - std::countl_zero(last.keys)) / kWalkTile;
  return std::countr_zero(visit.keys) / kWalkTile <= last_tile + 1;
}

int PanelCursor::Next(std::span<PanelVisit> visits) noexcept {
  int count = 0;
  while (true) {
    if (position_ >= range_end_) {
      if (!NextRange()) return count;
      continue;
    }
    const int64_t panel = position_ / kWalkBlock;
    const PanelVisit visit = VisitAt(panel);
    PanelVisit* last = count == 0 ? nullptr : &visits[static_cast<size_t>(count) - 1];
    if (last != nullptr && Extends(*last, visit)) {
      last->keys |= visit.keys;
    } else if (visit.keys != 0 && visit.queries != 0) {
      if (count == static_cast<int>(visits.size())) return count;
      visits[static_cast<size_t>(count++)] = visit;
    }
    position_ = (panel + 1) * kWalkBlock;
  }
}

int64_t EdgeKeys::Collect(const BlockWalk& walk, QueryBlock* block, std::span<int32_t> positions) noexcept {
  block->inner_end = block->entry_begin;
  if (!walk.shares_keys()) return 0;
  size_t count = 0;
  const auto append = [&](int64_t begin, int64_t end) {
    for (int64_t position = begin; position < end; ++position) {
      if (walk.KeyToken(block->batch, block->head, position) < 0) continue;
      positions[count++] = static_cast<int32_t>(position);
    }
  };
  KeyRange range;
  for (int64_t entry = block->entry_begin; walk.NextRange(*block, &entry, &range); block->inner_end = entry) {
    if (range.begin >= range.end) continue;
    const KeyRange inner = Inner(range);
    if (count + 2 * kWalkTile > positions.size()) break;
    if (inner.begin >= inner.end) {
      append(range.begin, range.end);
      continue;
    }
    append(range.begin, inner.begin);
    append(inner.end, range.end);
  }
  return static_cast<int64_t>(count);
}

}  // namespace tessera
