// Which keys the structural masks of exact attention leave to a query.
#pragma once
#include <cstdint>

#include "kernels/attention/exact.h"

namespace tessera {

struct KeyRange {
  int64_t begin = 0, end = 0;  // empty when begin >= end
};

// Causal, key lengths and packed sequences leave one range of key tokens to query token `query` of `batch`.
KeyRange VisibleKeys(const ExactAttention& call, int64_t batch, int64_t query) noexcept;

}  // namespace tessera
