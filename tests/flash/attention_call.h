// Operands of one attention call in strided memory whose gaps hold NaN, and the answer in double precision.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "attention/block_plan.h"
#include "attention/flash_plan.h"
#include "attention/problem.h"

namespace tessera {

// Row (batch, token, head) lies at ((batch * (length + 1) + token) * heads + head) * (head_dim + 3).
class Rows {
 public:
  Rows(DType dtype, int64_t batch, int64_t length, int heads, int head_dim);
  double Get(int64_t batch, int64_t token, int head, int channel) const;
  void Set(int64_t batch, int64_t token, int head, int channel, double value);
  // [batch, heads, length, head_dim]
  std::vector<double> HeadsFirst() const;
  void FillNormal(uint64_t seed, double factor);
  bool GapsAreUntouched() const;
  Bshd<void*> View();
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  size_t Index(int64_t batch, int64_t token, int head, int channel) const;
  double Read(size_t index) const;
  void Write(size_t index, double value);

  DType dtype_;
  int64_t batch_, length_;
  int heads_, head_dim_;
  std::vector<std::byte> bytes_;
};

struct Variant {
  std::string name;
  Isa isa;
  FlashArithmetic arithmetic;
};
// Every kernel this machine can run with operands of `dtype`.
std::vector<Variant> VariantsFor(DType dtype);

using Visibility = std::function<bool(int64_t batch, int head, int64_t query, int64_t key)>;

struct Errors {
  double relative = 0;  // sum |out - exact| / sum |exact|
  double most = 0;      // |out - exact|
  double lse = 0;       // |lse - exact| / (1 + |exact|)
};

// [batch, heads, q_len, head_dim] and [batch, heads, q_len].
struct Answer {
  std::vector<double> out, lse;
};

class AttentionCall {
 public:
  explicit AttentionCall(const std::string& line, double query_factor = 1);

  // Runs a fresh plan; `out` and `lse` hold the result.
  void Run(const Variant& variant);
  // `plan` was made for the problem with needs_lse.
  void Run(AttentionPlan& plan);
  // The last run against the answer; NaN when a query that should give 0 and -inf does not.
  Errors Compare(const Answer& answer) const;
  Answer Solve(const Visibility& visible) const;
  // Runs every variant and expects errors within the bounds of the dtype; `slack` widens those of f32 sums.
  void ExpectRight(const Visibility& visible, double slack = 1);

  AttentionProblem problem;
  Rows q, k, v, out;
  std::vector<float> lse;
  std::vector<int32_t> key_lengths, cu_seqlens_q, cu_seqlens_k;
  const BlockPlan* blocks = nullptr;
};

// Fills keys with NaN and values with infinity from token `begin` on.
void PoisonKeys(AttentionCall* call, int64_t batch, int64_t begin);

// What the problem's own masks say, without varlen.
Visibility VisibilityOf(const AttentionCall& call);
// What the packed sequences and the causal mask within each say; tokens behind the last sequence see nothing.
Visibility PackedVisibility(const AttentionCall& call);

}  // namespace tessera
