#include "kernels/attention/visible_keys.h"

#include <algorithm>

namespace tessera {
namespace {

// Tokens of the packed sequence that a query token lies in.
struct Sequence {
  KeyRange queries, keys;
};

Sequence SequenceOf(const ExactAttention& call, int64_t query) {
  if (call.cu_seqlens_q == nullptr) return {{0, call.q_len}, {0, call.kv_len}};
  const int32_t* ends = call.cu_seqlens_q + 1;
  const int64_t index = std::upper_bound(ends, ends + call.sequences, query) - ends;
  if (index == call.sequences) return {{query, query + 1}, {0, 0}};
  return {{call.cu_seqlens_q[index], call.cu_seqlens_q[index + 1]},
          {call.cu_seqlens_k[index], call.cu_seqlens_k[index + 1]}};
}

}  // namespace

KeyRange VisibleKeys(const ExactAttention& call, int64_t batch, int64_t query) noexcept {
  const auto [queries, keys] = SequenceOf(call, query);
  KeyRange range = keys;
  if (call.key_lengths != nullptr) range.end = std::min<int64_t>(range.end, std::max(call.key_lengths[batch], 0));
  if (call.causal != CausalAlignment::kNone) {
    const int64_t shift =
        call.causal == CausalAlignment::kTopLeft ? 0 : (keys.end - keys.begin) - (queries.end - queries.begin);
    range.end = std::min(range.end, keys.begin + (query - queries.begin) + shift + 1);
  }
  return range.begin < range.end ? range : KeyRange{0, 0};
}

}  // namespace tessera
