// The walk every panel kernel shares: cuts the queries of a call into blocks of at most 64 and says which 64-key panels
// each block sees. Dense, causal, varlen, key-length and planned sparse calls differ only here.
#pragma once
#include <cstdint>
#include <span>

#include "attention/attention_io.h"
#include "attention/block_plan.h"
#include "attention/problem.h"

namespace tessera {

constexpr int kWalkBlock = 64;  // queries of a block and keys of a panel
constexpr int kWalkTile = 8;    // keys that a kernel computes together

// Query i of the block sees key j of the panel iff bit j of `keys`, bit i of `queries` and j <= i + diagonal.
struct PanelVisit {
  int64_t panel = 0;
  uint64_t keys = 0;
  uint64_t queries = 0;
  int32_t diagonal = kWalkBlock;
};

// Neighbouring query positions of one batch entry and head, with the keys they may see.
struct QueryBlock {
  int64_t batch = 0;
  int head = 0;
  int64_t first = 0;                   // position
  int count = 0;                       // 1..64
  int64_t key_begin = 0, key_end = 0;  // positions outside are hidden
  int64_t diagonal = INT64_MAX;        // query position p sees key positions up to p + diagonal; INT64_MAX: no limit
  int64_t entry_begin = 0, entry_end = 0;  // into BlockPlan::kv_list
  int mask_word = 0;                       // of BlockPlan::query_masks; kNoMask: all queries see what is listed
  int64_t inner_end = 0;                   // of the entries before, edges are left out (see EdgeKeys)
};
constexpr int kNoMask = -1;

struct QueryRange {
  int64_t begin = 0, end = 0;  // positions
};

struct KeyRange {
  int64_t begin = 0, end = 0;  // positions
};

// Positions equal tokens unless a BlockPlan permutes them. Causal masks do not combine with permutations.
class BlockWalk {
 public:
  BlockWalk(const AttentionProblem& problem, const AttentionIO& io) noexcept;

  // Queries are handed out in windows: 64 positions, or one query block of the plan.
  int64_t windows() const noexcept { return windows_; }
  // The next block of a window; `block->count` is 0 before the first. False at the end.
  bool NextBlock(int64_t window, QueryBlock* block) const noexcept;

  // The queries of the block's packed sequence that lie in its `chunk` positions, counted from the start of the call or
  // of the plan's query block; INT64_MAX: all of the sequence.
  QueryRange Around(int64_t window, const QueryBlock& block, int64_t chunk) const noexcept;

  int64_t QueryToken(const QueryBlock& block, int query) const noexcept;
  // The token at a key position, or -1 when no query may see it.
  int64_t KeyToken(int64_t batch, int head, int64_t position) const noexcept;
  bool permutes_keys_per_head() const noexcept;
  // Whether all queries of a block see the same of every kv block, so that keys of several may share a panel.
  bool shares_keys() const noexcept;
  // Whether queries of a block choose their kv blocks one by one, and nothing else hides keys from some of them.
  bool chooses_by_query() const noexcept;
  // Of the window that the block lies in.
  int64_t WindowLength(int64_t window, const QueryBlock& block) const noexcept;
  // Queries 64 * word, ... of the window that see an entry of the list, and the keys of that entry.
  uint64_t QueriesOf(int64_t entry, int64_t word) const noexcept;
  int64_t KeysOf(const QueryBlock& block, int64_t entry) const noexcept;
  int64_t panels() const noexcept { return (problem_.kv_len + kWalkBlock - 1) / kWalkBlock; }

 private:
  friend class PanelCursor;
  friend class EdgeKeys;
  int64_t HeadIndex(int64_t batch, int head) const noexcept { return batch * problem_.heads + head; }
  int64_t VisibleKeys(int64_t batch) const noexcept;
  void Limit(QueryBlock* block) const noexcept;
  void LimitToSequence(QueryBlock* block, int64_t window_end) const noexcept;
  bool NextPlanned(int64_t window, QueryBlock* block) const noexcept;
  // Positions of the next kv blocks in the list, neighbours together when all queries see both; false at the end.
  bool NextRange(const QueryBlock& block, int64_t* entry, KeyRange* range) const noexcept;

  const AttentionProblem& problem_;
  const AttentionIO& io_;
  int64_t windows_;
};

// Lists the visits of one block in pieces.
class PanelCursor {
 public:
  PanelCursor(const BlockWalk& walk, const QueryBlock& block) noexcept;
  // Fills `visits` from the front; 0 at the end.
  int Next(std::span<PanelVisit> visits) noexcept;

 private:
  bool NextRange() noexcept;
  bool Extends(const PanelVisit& last, const PanelVisit& visit) const noexcept;
  PanelVisit VisitAt(int64_t panel) const noexcept;

  const BlockWalk& walk_;
  const QueryBlock& block_;
  int64_t entry_;
  int64_t position_, range_end_;
  uint64_t queries_ = ~uint64_t{0};
};

// Keys at the ends of kv blocks that fill only part of a tile of kWalkTile keys. Small blocks have many of them:
// gathered into panels of their own they cost a query block what they are, not what their tiles are.
class EdgeKeys {
 public:
  // Collects positions of the window's list into `positions` until they are full; sets block->inner_end. None where
  // queries do not share keys.
  static int64_t Collect(const BlockWalk& walk, QueryBlock* block, std::span<int32_t> positions) noexcept;
};

}  // namespace tessera
