#include "flash/attention_call.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "platform/cpu/cpu.h"
#include "tensor/storage.h"

namespace tessera {
namespace {
constexpr int kGap = 3;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
// Sequence of a token, or -1 past the last.
int SequenceOf(const std::vector<int32_t>& begins, int64_t token) {
  for (size_t s = 0; s + 1 < begins.size(); ++s) {
    if (token >= begins[s] && token < begins[s + 1]) return static_cast<int>(s);
  }
  return -1;
}

}  // namespace

Rows::Rows(DType dtype, int64_t batch, int64_t length, int heads, int head_dim)
    : dtype_(dtype), batch_(batch), length_(length), heads_(heads), head_dim_(head_dim) {
  const auto elements = static_cast<size_t>(batch * (length + 1) * heads * (head_dim + kGap));
  bytes_.resize(elements * SizeOf(dtype));
  for (size_t i = 0; i < elements; ++i) Write(i, kNan);
}

size_t Rows::Index(int64_t batch, int64_t token, int head, int channel) const {
  const int64_t row = (batch * (length_ + 1) + token) * heads_ + head;
  return static_cast<size_t>(row * (head_dim_ + kGap) + channel);
}

double Rows::Read(size_t index) const {
  const std::byte* at = bytes_.data() + index * SizeOf(dtype_);
  if (dtype_ == DType::kF32) return *reinterpret_cast<const float*>(at);
  if (dtype_ == DType::kBF16) return static_cast<double>(ToFloat(*reinterpret_cast<const BFloat16*>(at)));
  return static_cast<double>(ToFloat(*reinterpret_cast<const Float16*>(at)));
}

void Rows::Write(size_t index, double value) {
  std::byte* at = bytes_.data() + index * SizeOf(dtype_);
  const auto x = static_cast<float>(value);
  if (dtype_ == DType::kF32) Store(x, reinterpret_cast<float*>(at));
  if (dtype_ == DType::kBF16) Store(x, reinterpret_cast<BFloat16*>(at));
  if (dtype_ == DType::kF16) Store(x, reinterpret_cast<Float16*>(at));
}

double Rows::Get(int64_t batch, int64_t token, int head, int channel) const {
  return Read(Index(batch, token, head, channel));
}

void Rows::Set(int64_t batch, int64_t token, int head, int channel, double value) {
  Write(Index(batch, token, head, channel), value);
}

void Rows::FillNormal(uint64_t seed, double factor) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal(0, factor);
  for (int64_t b = 0; b < batch_; ++b) {
    for (int64_t token = 0; token < length_; ++token) {
      for (int head = 0; head < heads_; ++head) {
        for (int d = 0; d < head_dim_; ++d) Set(b, token, head, d, normal(generator));
      }
    }
  }
}

std::vector<double> Rows::HeadsFirst() const {
  std::vector<double> values;
  values.reserve(static_cast<size_t>(batch_ * length_ * heads_ * head_dim_));
  for (int64_t b = 0; b < batch_; ++b) {
    for (int head = 0; head < heads_; ++head) {
      for (int64_t token = 0; token < length_; ++token) {
        for (int d = 0; d < head_dim_; ++d) values.push_back(Get(b, token, head, d));
      }
    }
  }
  return values;
}

bool Rows::GapsAreUntouched() const {
  for (int64_t b = 0; b < batch_; ++b) {
    for (int64_t token = 0; token <= length_; ++token) {
      for (int head = 0; head < heads_; ++head) {
        for (int d = token == length_ ? 0 : head_dim_; d < head_dim_ + kGap; ++d) {
          if (!std::isnan(Get(b, token, head, d))) return false;
        }
      }
    }
  }
  return true;
}

Bshd<void*> Rows::View() {
  const int64_t row = head_dim_ + kGap;
  return {bytes_.data(), (length_ + 1) * heads_ * row, heads_ * row, row};
}

std::vector<Variant> VariantsFor(DType dtype) {
  const std::vector<Variant> all = {{"scalar", Isa::kScalar, FlashArithmetic::kF32},
                                    {"avx2", Isa::kAvx2, FlashArithmetic::kF32},
                                    {"avx512", Isa::kAvx512, FlashArithmetic::kF32},
                                    {"avx512_bf16 dot", Isa::kAvx512Bf16, FlashArithmetic::kBf16Dot}};
  std::vector<Variant> runnable;
  for (const Variant& variant : all) {
    const bool fits = variant.arithmetic == FlashArithmetic::kF32 || dtype == DType::kBF16;
    if (fits && variant.isa <= MachineIsa()) runnable.push_back(variant);
  }
  return runnable;
}

AttentionCall::AttentionCall(const std::string& line, double query_factor)
    : problem(ParseAttentionProblem(line)),
      q(problem.dtype, problem.batch, problem.q_len, problem.heads, problem.head_dim),
      k(problem.dtype, problem.batch, problem.kv_len, problem.kv_heads, problem.head_dim),
      v(k),
      out(q),
      lse(static_cast<size_t>(problem.batch * problem.heads * problem.q_len), -1.0f) {
  q.FillNormal(1, query_factor);
  k.FillNormal(2, 1);
  v.FillNormal(3, 1);
}

void AttentionCall::Run(const Variant& variant) {
  problem.needs_lse = true;
  Run(*MakeFlashPlan(problem, variant.isa, variant.arithmetic));
}

void AttentionCall::Run(AttentionPlan& plan) {
  out = Rows(problem.dtype, problem.batch, problem.q_len, problem.heads, problem.head_dim);
  const auto view = [](Rows& rows) {
    const auto from = rows.View();
    return BshdIn{from.elements, from.batch_stride, from.seq_stride, from.head_stride};
  };
  AttentionIO io{.q = view(q),
                 .k = view(k),
                 .v = view(v),
                 .out = out.View(),
                 .lse = lse.data(),
                 .bias = {},
                 .key_lengths = key_lengths,
                 .cu_seqlens_q = cu_seqlens_q,
                 .cu_seqlens_k = cu_seqlens_k,
                 .gate = {},
                 .blocks = blocks};
  const size_t bytes = plan.workspace_bytes();
  const auto workspace = AllocateAligned(bytes);
  std::memset(workspace.get(), 0xFF, bytes);  // NaN in every format
  plan.Run(io, {workspace.get(), bytes});
}

Answer AttentionCall::Solve(const Visibility& visible) const {
  const auto q_len = static_cast<size_t>(problem.q_len), kv_len = static_cast<size_t>(problem.kv_len);
  const auto dim = static_cast<size_t>(problem.head_dim), heads = static_cast<size_t>(problem.heads);
  const size_t group = heads / static_cast<size_t>(problem.kv_heads);
  const double scale = problem.scale ? static_cast<double>(*problem.scale) : 1 / std::sqrt(static_cast<double>(dim));
  const auto queries = q.HeadsFirst(), keys = k.HeadsFirst(), values = v.HeadsFirst();
  Answer answer{std::vector<double>(queries.size()), std::vector<double>(queries.size() / dim, -INFINITY)};
  std::vector<double> scores(kv_len);
  for (size_t row = 0; row < answer.lse.size(); ++row) {
    const size_t batch = row / q_len / heads, head = row / q_len % heads;
    const double* query = queries.data() + row * dim;
    const size_t first_key = (batch * (heads / group) + head / group) * kv_len * dim;
    double most = -INFINITY, sum = 0;
    for (size_t j = 0; j < kv_len; ++j) {
      scores[j] = -INFINITY;
      if (!visible(static_cast<int64_t>(batch), static_cast<int>(head), static_cast<int64_t>(row % q_len),
                   static_cast<int64_t>(j))) {
        continue;
      }
      scores[j] = scale * std::inner_product(query, query + dim, keys.data() + first_key + j * dim, 0.0);
      most = std::max(most, scores[j]);
    }
    for (const double score : scores) sum += score == -INFINITY ? 0 : std::exp(score - most);
    if (sum > 0) answer.lse[row] = most + std::log(sum);
    for (size_t j = 0; j < kv_len; ++j) {
      if (scores[j] == -INFINITY) continue;
      const double probability = std::exp(scores[j] - answer.lse[row]);
      for (size_t d = 0; d < dim; ++d) answer.out[row * dim + d] += probability * values[first_key + j * dim + d];
    }
  }
  return answer;
}

Errors AttentionCall::Compare(const Answer& answer) const {
  const auto got = out.HeadsFirst();
  const auto dim = static_cast<size_t>(problem.head_dim);
  Errors errors;
  double difference = 0, size = 1e-30;
  for (size_t row = 0; row < answer.lse.size(); ++row) {
    const bool empty = answer.lse[row] == -INFINITY;
    const auto got_lse = static_cast<double>(lse[row]);
    if (empty ? got_lse != -INFINITY : !std::isfinite(got_lse)) errors.lse = kNan;
    if (!empty)
      errors.lse = std::max(std::abs(got_lse - answer.lse[row]) / (1 + std::abs(answer.lse[row])), errors.lse);
    for (size_t i = row * dim; i < (row + 1) * dim; ++i) {
      if (empty ? got[i] != 0 : !std::isfinite(got[i])) errors.most = kNan;
      errors.most = std::max(std::abs(got[i] - answer.out[i]), errors.most);
      difference += std::abs(got[i] - answer.out[i]);
      size += std::abs(answer.out[i]);
    }
  }
  errors.relative = difference / size;
  return errors;
}

void AttentionCall::ExpectRight(const Visibility& visible, double slack) {
  const Answer answer = Solve(visible);
  for (const Variant& variant : VariantsFor(problem.dtype)) {
    Run(variant);
    const Errors errors = Compare(answer);
    const std::string where = Print(problem) + " on " + variant.name;
    const bool dot = variant.arithmetic == FlashArithmetic::kBf16Dot;
    const double relative = problem.dtype == DType::kF32   ? 2e-6 * slack
                            : problem.dtype == DType::kF16 ? 1e-3
                            : dot                          ? 6e-3
                                                           : 3e-3;
    EXPECT_LE(errors.relative, relative) << where;
    EXPECT_LE(errors.most, problem.dtype == DType::kF32 ? 1e-5 * slack : 5e-2) << where;
    EXPECT_LE(errors.lse, 1e-5) << where;
    EXPECT_TRUE(out.GapsAreUntouched()) << where;
  }
}

void PoisonKeys(AttentionCall* call, int64_t batch, int64_t begin) {
  for (int64_t token = begin; token < call->problem.kv_len; ++token) {
    for (int head = 0; head < call->problem.kv_heads; ++head) {
      for (int d = 0; d < call->problem.head_dim; ++d) {
        call->k.Set(batch, token, head, d, kNan);
        call->v.Set(batch, token, head, d, std::numeric_limits<double>::infinity());
      }
    }
  }
}

Visibility VisibilityOf(const AttentionCall& call) {
  return [&call](int64_t batch, int, int64_t query, int64_t key) {
    const AttentionProblem& problem = call.problem;
    if ((problem.mask & kMaskCausal) != 0 && key > query + problem.kv_len - problem.q_len) return false;
    if ((problem.mask & kMaskCausalTopLeft) != 0 && key > query) return false;
    return (problem.mask & kMaskKeyLengths) == 0 || key < call.key_lengths[static_cast<size_t>(batch)];
  };
}

Visibility PackedVisibility(const AttentionCall& call) {
  return [&call](int64_t, int, int64_t query, int64_t key) {
    const int sequence = SequenceOf(call.cu_seqlens_q, query);
    if (sequence < 0 || SequenceOf(call.cu_seqlens_k, key) != sequence) return false;
    const auto s = static_cast<size_t>(sequence);
    const int64_t i = query - call.cu_seqlens_q[s], j = key - call.cu_seqlens_k[s];
    const int64_t q_len = call.cu_seqlens_q[s + 1] - call.cu_seqlens_q[s];
    const int64_t kv_len = call.cu_seqlens_k[s + 1] - call.cu_seqlens_k[s];
    if ((call.problem.mask & kMaskCausal) != 0) return j <= i + kv_len - q_len;
    return (call.problem.mask & kMaskCausalTopLeft) == 0 || j <= i;
  };
}

}  // namespace tessera
