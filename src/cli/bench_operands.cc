#include "cli/bench_operands.h"

#include <algorithm>
#include <random>

#include "attention/exact_row.h"
#include "parallel/parallel_for.h"
#include "tensor/difference.h"

namespace tessera {
namespace {

constexpr int64_t kSampledRows = 24;
constexpr int64_t kSequences = 4;  // of a packed problem

// Any float dtype, normal with unit variance, the same for every machine and thread count.
Tensor NormalTensor(const Shape& shape, DType dtype, uint64_t seed) {
  Tensor tensor = Tensor::Empty(shape, DType::kF32);
  const int64_t rows = shape[0] * shape[1], row = shape.numel() / std::max<int64_t>(rows, 1);
  float* to = tensor.mutable_data<float>();
  ParallelFor(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::minstd_rand generator(static_cast<uint32_t>(seed * 1000003 + static_cast<uint64_t>(r) + 1));
      std::normal_distribution<float> normal;
      for (int64_t i = 0; i < row; ++i) to[r * row + i] = normal(generator);
    }
  });
  return dtype == DType::kF32 ? tensor : tensor.To(dtype);
}

BshdIn ViewOf(const Tensor& tensor) { return {tensor.raw(), tensor.stride(0), tensor.stride(1), tensor.stride(2)}; }

std::vector<int32_t> EqualSequences(int64_t length) {
  std::vector<int32_t> begins;
  for (int64_t s = 0; s <= kSequences; ++s) begins.push_back(static_cast<int32_t>(length * s / kSequences));
  return begins;
}

}  // namespace

BenchOperands MakeBenchOperands(const AttentionProblem& p) {
  BenchOperands made;
  const Shape q_shape{p.batch, p.q_len, p.heads, p.head_dim}, kv_shape{p.batch, p.kv_len, p.kv_heads, p.head_dim};
  made.q = NormalTensor(q_shape, p.dtype, 1);
  made.k = NormalTensor(kv_shape, p.dtype, 2);
  made.v = NormalTensor(kv_shape, p.dtype, 3);
  made.out = Tensor::Zeros(q_shape, p.dtype);
  made.lse = Tensor::Zeros(Shape{p.batch, p.heads, p.q_len}, DType::kF32);
  for (int64_t b = 0; b < p.batch; ++b) {
    made.key_lengths.push_back(static_cast<int32_t>(p.kv_len * (p.batch - b) / p.batch));
  }
  made.cu_seqlens_q = EqualSequences(p.q_len);
  made.cu_seqlens_k = EqualSequences(p.kv_len);
  made.io = {.q = ViewOf(made.q),
             .k = ViewOf(made.k),
             .v = ViewOf(made.v),
             .out = {made.out.mutable_raw(), made.out.stride(0), made.out.stride(1), made.out.stride(2)},
             .lse = made.lse.mutable_data<float>(),
             .bias = {},
             .key_lengths = made.key_lengths,
             .cu_seqlens_q = made.cu_seqlens_q,
             .cu_seqlens_k = made.cu_seqlens_k,
             .gate = {},
             .blocks = nullptr};
  if ((p.mask & kMaskBias) != 0) {
    made.bias = NormalTensor(Shape{p.q_len, p.kv_len}, DType::kF32, 4);
    made.io.bias = {made.bias.raw(), DType::kF32, 0, 0, p.kv_len};
  }
  if (p.has_gate) {
    made.gate = Tensor::Zeros(q_shape, p.dtype);
    made.io.gate = ViewOf(made.gate);
  }
  return made;
}

double VisiblePairs(const AttentionProblem& problem, const AttentionIO& io) {
  double pairs = 0;
  for (int64_t batch = 0; batch < problem.batch; ++batch) {
    for (int64_t query = 0; query < problem.q_len; ++query) {
      const KeyRange range = VisibleKeys(problem, io, batch, query);
      pairs += static_cast<double>(range.end - range.begin);
    }
  }
  return pairs * problem.heads;
}

double SampledError(const AttentionProblem& problem, const AttentionIO& io) {
  const int64_t rows = problem.batch * problem.heads * problem.q_len, samples = std::min(kSampledRows, rows);
  ExactRowScratch scratch(problem);
  Difference difference;
  for (int64_t n = 0; n < samples; ++n) {
    const RowPlace row = RowAt(problem, (2 * n + 1) * rows / (2 * samples));
    ExactRow(problem, io, row, scratch);
    for (int d = 0; d < problem.head_dim; ++d) {
      difference.Add(OutputAt(problem, io, row, d), scratch.out[static_cast<size_t>(d)]);
    }
  }
  return difference.rel_l1();
}

}  // namespace tessera
