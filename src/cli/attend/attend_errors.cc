#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "attention/exact_row.h"
#include "cli/attend/attend_run.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr double kMostOperations = 1e10;  // of the exact rows; a few seconds
constexpr size_t kMostMaskBytes = size_t{1} << 30;

// Rows to compare, at most as many as their cost allows, spread evenly.
std::vector<RowPlace> RowsOf(const AttendCall& call) {
  const AttentionProblem& p = call.problem;
  const auto is_padding = [&](const RowPlace& row) {
    return p.grid && p.q_len == p.kv_len && !call.key_lengths.empty() &&
           row.query >= call.key_lengths[static_cast<size_t>(row.batch)];
  };
  const int64_t rows = p.batch * p.heads * p.q_len;
  const double cost = 8.0 * static_cast<double>(std::max<int64_t>(p.kv_len, 1)) * p.head_dim;
  const auto affordable = static_cast<int64_t>(std::max(64.0, kMostOperations / cost));
  const int64_t samples = std::min(rows, affordable);
  std::vector<RowPlace> places;
  for (int64_t n = 0; n < samples; ++n) {
    const RowPlace row = RowAt(p, static_cast<int64_t>((static_cast<double>(n) + 0.5) * static_cast<double>(rows) /
                                                       static_cast<double>(samples)));
    if (!is_padding(row)) places.push_back(row);
  }
  return places;
}

// What one row, or one group of rows, adds to the errors.
struct Sum {
  Difference out, planned;
  double max_lse = 0;
};

class Comparison {
 public:
  Comparison(const AttendCall& call, AttendResult& result)
      : problem_(call.problem), io_(OperandsOf(call, &result)), has_lse_(result.lse.defined()) {
    const BlockPlan* plan = result.decision ? &*result.decision : nullptr;
    has_masks_ = plan != nullptr && BlockMaskBytes(plan, problem_) <= kMostMaskBytes;
    knows_keys_ = plan == nullptr || has_masks_;
    if (has_masks_) masks_ = MasksOf(plan, problem_);
  }

  void AddRow(const RowPlace& row, ExactRowScratch& scratch, Sum& sum) const {
    const double lse = ExactRow(problem_, io_, row, scratch);
    Compare(row, scratch, sum.out);
    if (has_lse_) AddLse(row, lse, sum);
    if (has_masks_) {
      const MaskRow mask = RowOf(masks_, problem_, row.batch * problem_.heads + row.head, row.query);
      ExactRow(problem_, io_, row, scratch, {mask.block_of_key, mask.visible});
    }
    if (knows_keys_) Compare(row, scratch, sum.planned);
  }

 private:
  void Compare(const RowPlace& row, const ExactRowScratch& scratch, Difference& difference) const {
    for (int d = 0; d < problem_.head_dim; ++d) {
      difference.Add(OutputAt(problem_, io_, row, d), scratch.out[static_cast<size_t>(d)]);
    }
  }

  void AddLse(const RowPlace& row, double exact, Sum& sum) const {
    const auto lse = static_cast<double>(io_.lse[(row.batch * problem_.heads + row.head) * problem_.q_len + row.query]);
    const double difference = lse == exact ? 0 : std::abs(lse - exact);  // both may be -inf
    if (!(difference <= sum.max_lse)) sum.max_lse = difference;
  }

  const AttentionProblem& problem_;
  AttentionIO io_;
  bool has_lse_, has_masks_, knows_keys_;
  PlanMasks masks_;
};

}  // namespace

AttendErrors ErrorsOf(const AttendCall& call, AttendResult& result) {
  const Comparison comparison(call, result);
  const std::vector<RowPlace> rows = RowsOf(call);
  const auto threads = static_cast<size_t>(Threads());
  std::vector<ExactRowScratch> scratch(threads, ExactRowScratch(call.problem));
  // Summed in fixed groups, so that the figures do not depend on the number of threads.
  constexpr size_t kGroup = 16;
  std::vector<Sum> sums((rows.size() + kGroup - 1) / kGroup);
  ParallelItems(static_cast<int64_t>(sums.size()), [&](int64_t group, int thread) {
    const size_t first = static_cast<size_t>(group) * kGroup;
    for (size_t i = first; i < std::min(first + kGroup, rows.size()); ++i) {
      comparison.AddRow(rows[i], scratch[static_cast<size_t>(thread)], sums[static_cast<size_t>(group)]);
    }
  });
  AttendErrors errors;
  errors.rows = static_cast<int64_t>(rows.size());
  for (const Sum& sum : sums) {
    errors.out.Add(sum.out);
    errors.planned.Add(sum.planned);
    if (!(sum.max_lse <= errors.max_lse)) errors.max_lse = sum.max_lse;
  }
  if (!result.lse.defined()) errors.max_lse = std::numeric_limits<double>::quiet_NaN();
  return errors;
}

}  // namespace tessera
