// Merging attention over disjoint key sets by their log-sum-exp (ring attention, split keys).
#pragma once
#include <cstdint>
#include <span>

namespace tessera {

// A normalised result over some of the keys; out [batch, seq, heads, head_dim], lse [batch, heads, seq], natural log,
// both f32 and contiguous. A row without keys has lse = -inf; its out is ignored.
struct AttentionPartial {
  const float* out = nullptr;
  const float* lse = nullptr;
};

struct MergeShape {
  int64_t batch = 0, seq = 0, heads = 0, head_dim = 0;
};

// The result over all keys, added up in the order of `partials`, so the bytes depend on that order only. `out` may be
// the memory of one of the partials, as may `lse`; `lse` may be null. Rows without keys in any partial get 0 and -inf.
// Throws nothing, allocates nothing; no partials is a bug.
void MergeAttention(std::span<const AttentionPartial> partials, const MergeShape& shape, float* out,
                    float* lse) noexcept;

}  // namespace tessera
