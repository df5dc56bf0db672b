// What a planner hands to a kernel: which key blocks every query block visits, after optional permutations.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace tessera {

// Rows are (batch, head, query block); index of a row: (b * heads + h) * q_blocks + i.
// Blocks are ranges of permuted positions: block n covers [offsets[n], offsets[n+1]), which may be empty; together they
// cover every token once. Sparse planners that give every head its own permutation or its own blocks set `per_head`;
// otherwise one set serves all heads and batch entries. Masks hide further pairs, by token; causal masks are combined
// with plans that keep the order of tokens only.
struct BlockPlan {
  struct Blocks {
    std::vector<int32_t> offsets;      // [blocks + 1], or [batch * heads][blocks + 1] when per_head
    std::vector<int32_t> permutation;  // empty: identity; else [seq] (or [batch * heads][seq]): position -> token
  };
  bool per_head = false;
  int32_t q_blocks = 0;
  int32_t kv_blocks = 0;
  Blocks q, kv;
  std::vector<int64_t> row_begin;  // [rows + 1] into kv_list
  std::vector<int32_t> kv_list;    // kv blocks of every row, strictly ascending

  // Optional: for entry e of kv_list, one bit per query of the block says whether that query sees this kv block.
  // Words of entry e start at e * mask_words; mask_words = ceil(largest q block / 64); empty: all see all.
  // Queries of large blocks are regrouped by kv block, so blocks of 1000 and more with few bits cost what they show.
  std::vector<uint64_t> query_masks;
  int32_t mask_words = 0;

  // Share of query-key pairs visited, 0..1.
  double Density() const noexcept;

  // What a kernel would trip over ("kv_list names a block that does not exist"); "" when the plan fits. Linear in its
  // size.
  std::string_view Defect(int64_t batch_heads, int64_t q_len, int64_t kv_len) const noexcept;
};

}  // namespace tessera
