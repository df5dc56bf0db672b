#include "attention/check_rows.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/text.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr double kUsualRate = 0.01;

[[noreturn]] void Reject(const std::string& text, const std::string& reason) {
  throw Error(ErrorKind::kUsage, fmt::format("--attention-check '{}': {}; rate=0.01,tolerance=0.05,seed=0 would work",
                                             Printable(text, 80), reason));
}

double Number(const std::string& text, const std::string& key, const std::string& word) {
  const auto value = ParseFloat(word);
  if (!value) Reject(text, fmt::format("{} is '{}', wanted a number", key, Printable(word, 40)));
  return *value;
}

// splitmix64 (Steele, Lea, Flood 2014).
uint64_t Mix(uint64_t value) noexcept {
  value += 0x9E3779B97F4A7C15ull;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

bool RowIsFinite(const AttentionProblem& problem, const AttentionIO& io, const RowPlace& place) noexcept {
  for (int d = 0; d < problem.head_dim; ++d) {
    if (!std::isfinite(OutputAt(problem, io, place, d))) return false;
  }
  return true;
}

bool AllFinite(const AttentionProblem& problem, const AttentionIO& io) noexcept {
  std::atomic<bool> finite = true;
  ParallelFor(problem.batch * problem.heads * problem.q_len, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      if (!RowIsFinite(problem, io, RowAt(problem, row))) finite.store(false, std::memory_order_relaxed);
    }
  });
  return finite.load();
}

void SetField(const std::string& text, const std::string& key, const std::string& word, AttentionCheck& check) {
  const double value = Number(text, key, word);
  if (key == "rate") {
    if (!(value > 0 && value <= 1)) Reject(text, "the rate is a share of the rows, above 0 and at most 1");
    check.rate = value;
  } else if (key == "tolerance") {
    if (!(value >= 0)) Reject(text, "the tolerance is below 0");
    check.tolerance = value;
  } else if (key == "seed") {
    if (!(value >= 0 && value <= 9e15) || value != std::floor(value)) Reject(text, "the seed is no whole number");
    check.seed = static_cast<uint64_t>(value);
  } else {
    Reject(text, fmt::format("'{}' is unknown", Printable(key, 40)));
  }
}

}  // namespace

std::optional<CheckAction> ParseCheckAction(std::string_view name) noexcept {
  if (name == "report") return CheckAction::kReport;
  if (name == "demote") return CheckAction::kDemote;
  if (name == "abort") return CheckAction::kAbort;
  return std::nullopt;
}

AttentionCheck ParseAttentionCheck(const std::string& text, CheckAction action, uint64_t seed) {
  AttentionCheck check{.rate = kUsualRate, .tolerance = std::nullopt, .action = action, .seed = seed};
  std::vector<std::string> seen;
  for (const std::string& pair : Split(text, ',')) {
    const size_t equals = pair.find('=');
    const std::string key = equals == std::string::npos ? "rate" : Lower(Trim(pair.substr(0, equals)));
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) Reject(text, fmt::format("'{}' is there twice", key));
    seen.push_back(key);
    SetField(text, key, std::string(Trim(equals == std::string::npos ? pair : pair.substr(equals + 1))), check);
  }
  return check;
}

double DefaultTolerance(Fidelity fidelity, DType dtype) noexcept {
  switch (fidelity) {
    case Fidelity::kExact:
      return dtype == DType::kF32 ? 1e-3 : 0.02;
    case Fidelity::kQuantized:
      return 0.3;  // four-bit kernels are off by up to 0.25 on independent normal numbers
    case Fidelity::kSparse:
      return 0.6;
  }
  return 0;
}

void CheckRecord::Add(const CheckRecord& other) noexcept {
  calls += other.calls;
  rows += other.rows;
  failures += other.failures;
  not_finite += other.not_finite;
  worst = std::max(worst, other.worst);
  const bool earlier =
      first_failed_step < 0 || (other.first_failed_step >= 0 && other.first_failed_step < first_failed_step);
  if (earlier) first_failed_step = other.first_failed_step;
  demoted = demoted || other.demoted;
}

RowChecker::RowChecker(const AttentionCheck& check, int threads) : check_(check), threads_(threads) {}

int64_t RowChecker::SampledRows(const AttentionProblem& problem) const noexcept {
  const int64_t rows = problem.batch * problem.heads * problem.q_len;
  if (problem.has_gate) return 0;
  return std::min(rows, static_cast<int64_t>(std::ceil(check_.rate * static_cast<double>(rows))));
}

void RowChecker::Reserve(const AttentionProblem& problem) {
  scratch_.resize(static_cast<size_t>(threads_), ExactRowScratch(problem));
  for (ExactRowScratch& scratch : scratch_) {
    scratch.Reserve(problem);
  }
  rows_.resize(std::max(rows_.size(), static_cast<size_t>(SampledRows(problem))));
}

CheckedCall RowChecker::Check(const AttentionProblem& problem, const AttentionIO& io, int64_t call) noexcept {
  const int64_t rows = problem.batch * problem.heads * problem.q_len, samples = SampledRows(problem);
  TESSERA_CHECK(static_cast<size_t>(samples) <= rows_.size());
  const uint64_t seed = Mix(check_.seed ^ Mix(static_cast<uint64_t>(call)));
  ParallelItems(samples, [&](int64_t n, int thread) {
    // One row out of each of `samples` equal parts.
    const auto part = static_cast<uint64_t>((n + 1) * rows / samples - n * rows / samples);
    const auto offset = static_cast<int64_t>(Mix(seed ^ static_cast<uint64_t>(n)) % part);
    const RowPlace row = RowAt(problem, n * rows / samples + offset);
    ExactRowScratch& scratch = scratch_[static_cast<size_t>(thread)];
    ExactRow(problem, io, row, scratch);
    Difference difference;
    for (int d = 0; d < problem.head_dim; ++d) {
      difference.Add(OutputAt(problem, io, row, d), scratch.out[static_cast<size_t>(d)]);
    }
    rows_[static_cast<size_t>(n)] = difference;
  });
  Difference all;
  for (int64_t n = 0; n < samples; ++n) all.Add(rows_[static_cast<size_t>(n)]);
  return {samples, all.rel_l1(), AllFinite(problem, io)};
}

}  // namespace tessera
