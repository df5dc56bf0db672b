// Single rows of attention in double precision: what any backend's output is measured against.
#pragma once
#include <cstdint>
#include <vector>

#include "attention/attention_io.h"
#include "attention/problem.h"
#include "kernels/attention/visible_keys.h"

namespace tessera {

struct RowPlace {
  int64_t batch = 0;
  int head = 0;
  int64_t query = 0;
};

// Row `index` of the batch * heads * q_len rows of a call, queries fastest.
RowPlace RowAt(const AttentionProblem& problem, int64_t index) noexcept;

// Key tokens that the structural masks (causal, key lengths, packed sequences) leave to a query.
KeyRange VisibleKeys(const AttentionProblem& problem, const AttentionIO& io, int64_t batch, int64_t query) noexcept;

// Hides further keys by their block: key j is seen when `visible[block_of_key[j]]` is not 0.
struct KeyBlocks {
  const int32_t* block_of_key = nullptr;  // [kv_len]; null: nothing is hidden
  const uint8_t* visible = nullptr;
};

// Made before the loop, one per thread.
struct ExactRowScratch {
  explicit ExactRowScratch(const AttentionProblem& problem) { Reserve(problem); }
  void Reserve(const AttentionProblem& problem);  // grows to what this problem needs as well
  std::vector<double> out;                        // the row is in the first head_dim
  std::vector<double> query, scores;
};

// softmax(scale * q k^T + bias) v of one query over the keys that the problem's masks and `blocks` leave it, into
// `scratch.out`; returns the log-sum-exp. Zeros and -inf when no key is left. `io.blocks` and the gate are not looked
// at. Allocates nothing.
double ExactRow(const AttentionProblem& problem, const AttentionIO& io, const RowPlace& place, ExactRowScratch& scratch,
                const KeyBlocks& blocks = {}) noexcept;

// Channel `channel` of a row of `out`, which has the problem's dtype.
double OutputAt(const AttentionProblem& problem, const AttentionIO& io, const RowPlace& place, int channel) noexcept;

}  // namespace tessera
