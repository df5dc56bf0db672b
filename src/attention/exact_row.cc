#include "attention/exact_row.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tessera {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();
constexpr int kLanes = 8;  // independent sums, which a compiler may keep in vectors

double Load(const void* elements, DType dtype, int64_t index) noexcept {
  if (dtype == DType::kF32) return static_cast<double>(static_cast<const float*>(elements)[index]);
  if (dtype == DType::kBF16) return static_cast<double>(ToFloat(static_cast<const BFloat16*>(elements)[index]));
  return static_cast<double>(ToFloat(static_cast<const Float16*>(elements)[index]));
}

// Added to a score; -inf hides the key.
double BiasAt(const AttentionBias& bias, int64_t index) noexcept {
  if (bias.dtype == DType::kBool) return static_cast<const uint8_t*>(bias.elements)[index] != 0 ? 0 : kNothing;
  return Load(bias.elements, bias.dtype, index);
}

template <class T>
double Dot(const double* query, const T* key, int count) noexcept {
  double sums[kLanes] = {};
  int d = 0;
  for (; d + kLanes <= count; d += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      sums[lane] += query[d + lane] * static_cast<double>(ToFloat(key[d + lane]));
    }
  }
  double sum = 0;
  for (; d < count; ++d) sum += query[d] * static_cast<double>(ToFloat(key[d]));
  for (const double part : sums) sum += part;
  return sum;
}

struct RowCall {
  const AttentionProblem& problem;
  const AttentionIO& io;
  RowPlace place;
  KeyRange keys;
  KeyBlocks blocks;

  bool Hides(int64_t key) const noexcept {
    return blocks.block_of_key != nullptr && blocks.visible[blocks.block_of_key[key]] == 0;
  }
  int kv_head() const noexcept { return place.head / (problem.heads / problem.kv_heads); }
};

template <class T>
const T* KeyRow(const RowCall& call, const BshdIn& operand, int64_t key) noexcept {
  return static_cast<const T*>(operand.elements) + call.place.batch * operand.batch_stride + key * operand.seq_stride +
         call.kv_head() * operand.head_stride;
}

// Fills scores[begin..end) and returns the largest.
template <class T>
double Scores(const RowCall& call, ExactRowScratch& scratch) noexcept {
  const AttentionProblem& problem = call.problem;
  const AttentionBias& bias = call.io.bias;
  const int64_t bias_row =
      call.place.batch * bias.batch_stride + call.place.head * bias.head_stride + call.place.query * bias.query_stride;
  const auto scale = static_cast<double>(problem.softmax_scale());
  double most = kNothing;
  for (int64_t key = call.keys.begin; key < call.keys.end; ++key) {
    double score = kNothing;
    if (!call.Hides(key)) {
      score = scale * Dot(scratch.query.data(), KeyRow<T>(call, call.io.k, key), problem.head_dim);
      if ((problem.mask & kMaskBias) != 0) score += BiasAt(bias, bias_row + key);
    }
    scratch.scores[static_cast<size_t>(key)] = score;
    if (!(score <= most)) most = score;  // a NaN stays
  }
  return most;
}

template <class T>
double SolveRow(const RowCall& call, ExactRowScratch& scratch) noexcept {
  const BshdIn& q = call.io.q;
  const int64_t first =
      call.place.batch * q.batch_stride + call.place.query * q.seq_stride + call.place.head * q.head_stride;
  for (int d = 0; d < call.problem.head_dim; ++d) {
    scratch.query[static_cast<size_t>(d)] = Load(q.elements, call.problem.dtype, first + d);
  }
  std::fill_n(scratch.out.begin(), call.problem.head_dim, 0.0);
  const double most = Scores<T>(call, scratch);
  if (most == kNothing) return kNothing;
  double sum = 0;
  for (int64_t key = call.keys.begin; key < call.keys.end; ++key) {
    const double score = scratch.scores[static_cast<size_t>(key)];
    if (score == kNothing) continue;
    const double weight = std::exp(score - most);
    sum += weight;
    const T* value = KeyRow<T>(call, call.io.v, key);
    for (int d = 0; d < call.problem.head_dim; ++d) {
      scratch.out[static_cast<size_t>(d)] += weight * static_cast<double>(ToFloat(value[d]));
    }
  }
  for (int d = 0; d < call.problem.head_dim; ++d) scratch.out[static_cast<size_t>(d)] /= sum;
  return most + std::log(sum);
}

}  // namespace

RowPlace RowAt(const AttentionProblem& problem, int64_t index) noexcept {
  const int64_t head = index / problem.q_len;
  return {head / problem.heads, static_cast<int>(head % problem.heads), index % problem.q_len};
}

KeyRange VisibleKeys(const AttentionProblem& problem, const AttentionIO& io, int64_t batch, int64_t query) noexcept {
  ExactAttention call;
  call.q_len = problem.q_len;
  call.kv_len = problem.kv_len;
  if ((problem.mask & kMaskCausal) != 0) call.causal = CausalAlignment::kBottomRight;
  if ((problem.mask & kMaskCausalTopLeft) != 0) call.causal = CausalAlignment::kTopLeft;
  if ((problem.mask & kMaskKeyLengths) != 0) call.key_lengths = io.key_lengths.data();
  if ((problem.mask & kMaskVarlen) != 0) {
    call.cu_seqlens_q = io.cu_seqlens_q.data();
    call.cu_seqlens_k = io.cu_seqlens_k.data();
    call.sequences = static_cast<int64_t>(io.cu_seqlens_q.size()) - 1;
  }
  return VisibleKeys(call, batch, query);
}

void ExactRowScratch::Reserve(const AttentionProblem& problem) {
  const auto channels = std::max(out.size(), static_cast<size_t>(problem.head_dim));
  out.resize(channels);
  query.resize(channels);
  scores.resize(std::max(scores.size(), static_cast<size_t>(problem.kv_len)));
}

double ExactRow(const AttentionProblem& problem, const AttentionIO& io, const RowPlace& place, ExactRowScratch& scratch,
                const KeyBlocks& blocks) noexcept {
  const RowCall call{problem, io, place, VisibleKeys(problem, io, place.batch, place.query), blocks};
  if (problem.dtype == DType::kF32) return SolveRow<float>(call, scratch);
  if (problem.dtype == DType::kBF16) return SolveRow<BFloat16>(call, scratch);
  return SolveRow<Float16>(call, scratch);
}

double OutputAt(const AttentionProblem& problem, const AttentionIO& io, const RowPlace& place, int channel) noexcept {
  const BshdOut& out = io.out;
  return Load(out.elements, problem.dtype,
              place.batch * out.batch_stride + place.query * out.seq_stride + place.head * out.head_stride + channel);
}

}  // namespace tessera
