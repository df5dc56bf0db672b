#include "conformance/attention_oracle.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>

namespace tessera {
namespace {

constexpr double kFewRows = 64;
constexpr double kNoKey = -std::numeric_limits<double>::infinity();

std::vector<double> RowsInDoubles(const Operand& operand, int64_t batch, int64_t head, int64_t tokens, int64_t dim) {
  std::vector<double> rows(static_cast<size_t>(tokens * dim));
  for (int64_t s = 0; s < tokens; ++s) {
    for (int64_t d = 0; d < dim; ++d)
      rows[static_cast<size_t>(s * dim + d)] = operand.Get(operand.At(batch, s, head) + d);
  }
  return rows;
}

struct HeadRowsInDoubles {
  std::vector<double> q, k, v;
};

void SolveRow(const AttentionCase& attention, const HeadRowsInDoubles& rows, int64_t set, int64_t i,
              AttentionTruth& truth) {
  const AttentionProblem& p = attention.problem();
  const int64_t dim = p.head_dim, batch = set / p.heads, head = set % p.heads;
  std::vector<double> scores(static_cast<size_t>(p.kv_len), kNoKey);
  double largest = kNoKey;
  for (int64_t j = 0; j < p.kv_len; ++j) {
    if (!attention.Visible(batch, head, i, j)) continue;
    double dot = 0, q_square = 0, k_square = 0;
    for (int64_t d = 0; d < dim; ++d) {
      const double q = rows.q[static_cast<size_t>(i * dim + d)], k = rows.k[static_cast<size_t>(j * dim + d)];
      dot += q * k;
      q_square += q * q;
      k_square += k * k;
    }
    const double scale = static_cast<double>(p.softmax_scale());
    const double score = dot * scale + attention.Bias(batch, head, i, j);
    truth.largest_spread =
        std::max(truth.largest_spread, scale * std::sqrt(q_square * k_square / static_cast<double>(dim)));
    scores[static_cast<size_t>(j)] = score;
    largest = std::max(largest, score);
    truth.largest_score = std::max(truth.largest_score, std::abs(score));
  }
  double sum = 0;
  double* out = truth.out.data() + (set * p.q_len + i) * dim;
  for (int64_t j = 0; j < p.kv_len; ++j) {
    if (scores[static_cast<size_t>(j)] == kNoKey) continue;
    const double weight = std::exp(scores[static_cast<size_t>(j)] - largest);
    sum += weight;
    for (int64_t d = 0; d < dim; ++d) out[d] += weight * rows.v[static_cast<size_t>(j * dim + d)];
  }
  for (int64_t d = 0; d < dim && sum > 0; ++d) out[d] /= sum;
  truth.lse[static_cast<size_t>(set * p.q_len + i)] = sum > 0 ? largest + std::log(sum) : kNoKey;
}

// Sums over all outputs; differences against the truth.
struct Errors {
  int64_t rows = 0;
  double l1 = 0, l2 = 0, reference_l1 = 0, reference_l2 = 0, got_l2 = 0, product = 0, largest = 0;
  void Add(double got, double wanted) {
    const double error = got - wanted;
    l1 += std::abs(error);
    l2 += error * error;
    reference_l1 += std::abs(wanted);
    reference_l2 += wanted * wanted;
    got_l2 += got * got;
    product += got * wanted;
    largest = std::max(largest, std::abs(error));
  }
  double RelativeL1() const { return reference_l1 > 0 ? l1 / reference_l1 : l1; }
  double RelativeL2() const { return reference_l2 > 0 ? std::sqrt(l2 / reference_l2) : std::sqrt(l2); }
  double CosineLoss() const { return reference_l2 > 0 ? 1 - product / std::sqrt(got_l2 * reference_l2) : 0; }
};

// What rounding to a number of bits may cost. Errors of scores grow with the scores: the bounds were measured up to
// `measured`; beyond, a row may hang on single keys, and the most a result can lose is a share of its rows.
struct QuantizedBound {
  double relative_l1, cosine_loss, measured;
  double most_relative_l1, most_cosine_loss;
  double lse_share;  // of the spread of scores: five times what a score is off

  double RelativeL1(double largest_score) const {
    return std::min(most_relative_l1, relative_l1 * std::sqrt(std::max(1.0, largest_score / measured)));
  }
  double CosineLoss(double largest_score) const {
    return std::min(most_cosine_loss, cosine_loss * std::max(1.0, largest_score / measured));
  }
};

QuantizedBound BoundOf(int bits) {
  constexpr double kNoLimit = std::numeric_limits<double>::infinity();
  // Scores of 8 bits are off by about 1 % of their spread, those of 4 bits by about 10 %.
  if (bits >= 8) return {0.05, 1.5e-3, 30, 0.15, kNoLimit, 0.05};
  return {0.25, 2.5e-2, 5, 0.5, 0.3, 0.5};
}

std::string OutDeviation(const Errors& errors, DType dtype, Fidelity fidelity, int bits, double largest_score) {
  double relative_l1 = 0, relative_l2 = std::numeric_limits<double>::infinity(), cosine_loss = 1e-5;
  if (fidelity == Fidelity::kQuantized) {
    // Among few rows that see keys a single one weighs much.
    const double few = 1 + kFewRows / static_cast<double>(std::max<int64_t>(errors.rows, 1));
    relative_l1 = BoundOf(bits).RelativeL1(largest_score);
    cosine_loss = few * BoundOf(bits).CosineLoss(largest_score);
  } else if (dtype == DType::kF32) {
    // Scores carry an error of a few units in their last place, which is the relative error of a weight.
    relative_l2 = std::max(2e-6, 4 * 6e-8 * largest_score);
    relative_l1 = std::numeric_limits<double>::infinity();
  } else {
    relative_l1 = dtype == DType::kBF16 ? 0.006 : 0.001;
  }
  if (errors.RelativeL1() <= relative_l1 && errors.RelativeL2() <= relative_l2 && errors.CosineLoss() <= cosine_loss)
    return "";
  return fmt::format(
      "out: relative l1 {:.3g} (bound {:.3g}), l2 {:.3g} ({:.3g}), 1-cosine {:.3g} ({:.3g}), max |s| {:.3g}",
      errors.RelativeL1(), relative_l1, errors.RelativeL2(), relative_l2, errors.CosineLoss(), cosine_loss,
      largest_score);
}

std::string LseDeviation(const AttentionCase& attention, const AttentionTruth& truth, Fidelity fidelity, int bits) {
  // Few errors average out: only many keys do that.
  const bool quantized = fidelity == Fidelity::kQuantized;
  const double bound =
      quantized ? 0.01 + BoundOf(bits).lse_share * truth.largest_spread : 1e-5 * (1 + truth.largest_score);
  for (size_t i = 0; i < truth.lse.size(); ++i) {
    const double got = attention.lse()[i], wanted = truth.lse[i];
    if (wanted == kNoKey ? got != kNoKey : !(std::abs(got - wanted) <= bound)) {
      return fmt::format("lse[{}] is {}, wanted {} within {:.3g}", i, got, wanted, bound);
    }
  }
  return "";
}

bool GapsUntouched(const AttentionCase& attention) {
  const AttentionProblem& p = attention.problem();
  const Operand& out = attention.out();
  const size_t size = SizeOf(p.dtype);
  std::vector<char> written(out.memory->bytes().size(), 0);
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t s = 0; s < p.q_len; ++s) {
      for (int64_t h = 0; h < p.heads; ++h) {
        std::memset(written.data() + static_cast<size_t>(out.At(b, s, h)) * size, 1,
                    static_cast<size_t>(p.head_dim) * size);
      }
    }
  }
  for (size_t i = 0; i < written.size(); ++i) {
    if (written[i] == 0 && out.memory->begin()[i] != std::byte{0xFF}) return false;
  }
  return true;
}

// Rows without a key are 0 to the bit.
bool KeylessRowIsZero(const AttentionCase& attention, int64_t batch, int64_t head, int64_t i) {
  const int64_t at = attention.out().At(batch, i, head);
  for (int64_t d = 0; d < attention.problem().head_dim; ++d) {
    if (attention.out().Get(at + d) != 0) return false;
  }
  return true;
}

}  // namespace

AttentionTruth SolveInDoubles(const AttentionCase& attention) {
  const AttentionProblem& p = attention.problem();
  AttentionTruth truth;
  const int64_t sets = p.batch * p.heads;
  truth.out.assign(static_cast<size_t>(sets * p.q_len * p.head_dim), 0.0);
  truth.lse.assign(static_cast<size_t>(sets * p.q_len), kNoKey);
  for (int64_t set = 0; set < sets; ++set) {
    const int64_t batch = set / p.heads, head = set % p.heads, kv_head = head / (p.heads / p.kv_heads);
    const HeadRowsInDoubles rows = {RowsInDoubles(attention.q(), batch, head, p.q_len, p.head_dim),
                                    RowsInDoubles(attention.k(), batch, kv_head, p.kv_len, p.head_dim),
                                    RowsInDoubles(attention.v(), batch, kv_head, p.kv_len, p.head_dim)};
    for (int64_t i = 0; i < p.q_len; ++i) SolveRow(attention, rows, set, i, truth);
  }
  return truth;
}

std::string Deviation(const AttentionCase& attention, const AttentionTruth& truth, Fidelity fidelity, int bits) {
  const AttentionProblem& p = attention.problem();
  Errors errors;
  errors.rows = std::count_if(truth.lse.begin(), truth.lse.end(), [](double lse) { return lse != kNoKey; });
  for (int64_t set = 0; set < p.batch * p.heads; ++set) {
    for (int64_t i = 0; i < p.q_len; ++i) {
      if (truth.lse[static_cast<size_t>(set * p.q_len + i)] == kNoKey &&
          !KeylessRowIsZero(attention, set / p.heads, set % p.heads, i)) {
        return fmt::format("row {} of head {} sees no key but is not 0", i, set);
      }
      const double* wanted = truth.out.data() + (set * p.q_len + i) * p.head_dim;
      const int64_t at = attention.out().At(set / p.heads, i, set % p.heads);
      for (int64_t d = 0; d < p.head_dim; ++d) errors.Add(attention.out().Get(at + d), wanted[d]);
    }
  }
  if (std::string text = OutDeviation(errors, p.dtype, fidelity, bits, truth.largest_score); !text.empty()) return text;
  if (p.needs_lse) {
    if (std::string text = LseDeviation(attention, truth, fidelity, bits); !text.empty()) return text;
  }
  return GapsUntouched(attention) ? "" : "a gap between output rows was written";
}

}  // namespace tessera
