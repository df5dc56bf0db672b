// Checks attention while it runs: a sample of the rows of every call is computed again, densely and in doubles.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "attention/backend.h"
#include "attention/exact_row.h"
#include "tensor/difference.h"

namespace tessera {

enum class CheckAction {
  kReport,  // say it and go on
  kDemote,  // the site goes on with an exact backend, this call included
  kAbort,   // end the run
};
std::optional<CheckAction> ParseCheckAction(std::string_view name) noexcept;  // "report", "demote", "abort"

// What was asked for. A rate of 0 checks nothing.
struct AttentionCheck {
  double rate = 0;                  // share of the rows of a call, at least one
  std::optional<double> tolerance;  // largest relative L1 of the sampled rows of a call; absent: DefaultTolerance
  CheckAction action = CheckAction::kReport;
  uint64_t seed = 0;  // draws the rows

  bool enabled() const noexcept { return rate > 0; }
};

// "rate=0.01,tolerance=0.05,seed=3", each of them optional, "0.01" alone is the rate; without a rate it is 0.01,
// without a seed `seed`. Throws Error{kUsage}.
AttentionCheck ParseAttentionCheck(const std::string& text, CheckAction action, uint64_t seed = 0);

// What a backend of that fidelity may be off by in a call with outputs of that type.
double DefaultTolerance(Fidelity fidelity, DType dtype) noexcept;

// What the checks of one site have found.
struct CheckRecord {
  int64_t calls = 0, rows = 0;  // checked
  int64_t failures = 0;         // calls beyond the tolerance or with values that are not finite
  int64_t not_finite = 0;       // the latter
  double worst = 0;             // largest relative L1 of a call
  int first_failed_step = -1;   // -1: none, or outside of denoising
  bool demoted = false;

  void Add(const CheckRecord& other) noexcept;
};

// The outcome for one call.
struct CheckedCall {
  int64_t rows = 0;
  double rel_l1 = 0;
  bool finite = true;
};

// Reserved before the loop; checking allocates nothing. The rows depend on the seed and on the number of the call, not
// on threads.
class RowChecker {
 public:
  RowChecker(const AttentionCheck& check, int threads);
  void Reserve(const AttentionProblem& problem);
  // Every output must be finite; of sampled rows the distance from dense attention is measured, except for problems
  // with a gate, whose results dense attention does not have.
  CheckedCall Check(const AttentionProblem& problem, const AttentionIO& io, int64_t call) noexcept;

 private:
  int64_t SampledRows(const AttentionProblem& problem) const noexcept;

  AttentionCheck check_;
  int threads_;
  std::vector<ExactRowScratch> scratch_;  // one per thread
  std::vector<Difference> rows_;          // one per sampled row
};

}  // namespace tessera
