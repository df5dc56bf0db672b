// Random operands of a problem line, for benchmarks.
#pragma once
#include <vector>

#include "attention/attention_io.h"
#include "attention/problem.h"
#include "tensor/tensor.h"

namespace tessera {

// Normal with unit variance, the same for every machine and thread count. Key lengths fall from the whole length;
// packed sequences are equally long; a gate is zero, so that exact attention stays the reference.
struct BenchOperands {
  Tensor q, k, v, out, lse, bias, gate;
  std::vector<int32_t> key_lengths, cu_seqlens_q, cu_seqlens_k;
  AttentionIO io;
};

BenchOperands MakeBenchOperands(const AttentionProblem& problem);

// Pairs of query and key that the problem's masks leave.
double VisiblePairs(const AttentionProblem& problem, const AttentionIO& io);

// sum |out - exact| / sum |exact| over rows spread evenly over the call.
double SampledError(const AttentionProblem& problem, const AttentionIO& io);

}  // namespace tessera
