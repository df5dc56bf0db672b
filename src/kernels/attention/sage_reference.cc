#include "kernels/attention/sage_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/dtype.h"

namespace tessera {
namespace {

constexpr double kLn2 = 0.6931471805599453;

int QueryGroup(SageGranularity granularity, int i) {
  switch (granularity) {
    case SageGranularity::kPerRow:
      return i;
    case SageGranularity::kPerThread:
      return i / 32 * 8 + i % 8;
    case SageGranularity::kPerWarp:
      return i / 32;
    case SageGranularity::kPerBlock:
      return 0;
  }
  return 0;
}

int KeyGroup(SageGranularity granularity, int j) { return granularity == SageGranularity::kPerThread ? j % 8 / 2 : 0; }

struct CodeRows {
  std::span<const float> rows, mean;
  float fold;  // what rows are multiplied by first
  int (*group_of)(SageGranularity, int);
};

SageCodes Quantize(const CodeRows& from, const SageFormat& format) {
  const size_t channels = from.mean.size(), count = from.rows.size() / channels;
  const bool away = format.rounding == SageRounding::kAway;
  const auto group = [&](size_t row) {
    return static_cast<size_t>(from.group_of(format.granularity, static_cast<int>(row)));
  };
  const auto element = [&](size_t i) { return (from.rows[i] - from.mean[i % channels]) * from.fold; };
  std::vector<float> most(kFlashBlock, away ? 0 : kSageLeastMagnitude);
  for (size_t i = 0; i < from.rows.size(); ++i) {
    float& of_group = most[group(i / channels)];
    of_group = std::max(of_group, std::abs(element(i)));
  }
  SageCodes result{std::vector<int32_t>(from.rows.size()), std::vector<float>(count)};
  for (size_t row = 0; row < count; ++row) {
    const float inverse = kSageLevels / most[group(row)], scale = most[group(row)] / kSageLevels;
    const bool vanishes = away && scale < std::numeric_limits<float>::min();
    result.scales[row] = vanishes ? 1 : scale;
    for (size_t i = row * channels; i < (row + 1) * channels; ++i) {
      if (vanishes) continue;
      const float code = away ? std::trunc(element(i) / scale + std::copysign(0.5f, element(i)))
                              : std::nearbyint(element(i) * inverse);
      result.codes[i] = static_cast<int32_t>(code);
    }
  }
  return result;
}

// To nearest even in e4m3 whose least normal number is 2^least, saturated.
float RoundToFloat8(float x, int least, float most) {
  if (x == 0) return x;
  const int exponent = std::max(static_cast<int>(std::floor(std::log2(std::abs(x)))), least);
  const float step = std::ldexp(1.0f, exponent - 3);
  return std::copysign(std::min(most, std::nearbyint(std::abs(x) / step) * step), x);
}

// The first `count` rows from `first` on, which start a block of the codes' own.
SageCodes Part(const SageCodes& codes, size_t first, size_t count, size_t channels) {
  const auto at = static_cast<int64_t>(first), end = static_cast<int64_t>(first + count);
  const auto dim = static_cast<int64_t>(channels);
  return {{codes.codes.begin() + at * dim, codes.codes.begin() + end * dim},
          {codes.scales.begin() + at, codes.scales.begin() + end}};
}

struct Values {
  std::vector<double> rounded;      // [keys][channels]
  std::vector<double> scale, mean;  // [channels]
};

float Levels(SageValues values) {
  if (values == SageValues::kInt8) return kSageLevels;
  if (values == SageValues::kFp8UnitFnuz) return kSageMostFnuz;
  return values == SageValues::kFp8Plus ? kSageMostFp8Plus : kSageMostFp8;
}

class Reference {
 public:
  explicit Reference(const SageReferenceCall& call)
      : call_(call),
        channels_(static_cast<size_t>(call.format.rows.channels)),
        queries_(call.q.size() / channels_),
        keys_(call.k.size() / channels_),
        key_mean_(channels_) {
    if (call.smooth_k) key_mean_ = MeanOf(call.k);
    RoundValues();
    for (size_t begin = 0; begin < keys_; begin += KeyBlock()) {
      const size_t end = std::min(keys_, begin + KeyBlock());
      const SageCodes codes = KeyCodes(begin, end);
      for (size_t panel = begin; panel < end; panel += kFlashBlock) {
        panels_.push_back(Part(codes, panel - begin, std::min<size_t>(kFlashBlock, end - panel), channels_));
      }
    }
  }

  SageReferenceResult Run() {
    SageReferenceResult result{std::vector<double>(queries_ * channels_), std::vector<double>(queries_, -INFINITY)};
    for (size_t first = 0; first < queries_; first += kFlashBlock) {
      const size_t count = std::min<size_t>(kFlashBlock, queries_ - first), begin = first / QueryBlock() * QueryBlock();
      const size_t end = std::min(queries_, begin + QueryBlock());
      const auto block =
          QuantizeSageQueries(call_.q.subspan(begin * channels_, (end - begin) * channels_), call_.format);
      const SageCodes codes = Part(block, first - begin, count, channels_);
      const auto groups = GroupsSeenBy(first, count);
      for (size_t i = 0; i < count; ++i) Attend(codes, i, first + i, groups, &result);
    }
    return result;
  }

 private:
  bool PerBlock() const { return call_.format.granularity == SageGranularity::kPerBlock; }
  size_t QueryBlock() const { return PerBlock() ? call_.query_block : kFlashBlock; }
  size_t KeyBlock() const { return PerBlock() ? call_.key_block : kFlashBlock; }
  bool Present(size_t key) const { return !call_.present || call_.present(static_cast<int64_t>(key)); }
  bool Visible(size_t query, size_t key) const {
    return Present(key) && (!call_.visible || call_.visible(static_cast<int64_t>(query), static_cast<int64_t>(key)));
  }

  std::vector<float> MeanOf(std::span<const float> rows) const {
    std::vector<double> sums(channels_);
    double count = 0;
    for (size_t key = 0; key < keys_; ++key) {
      if (!Present(key)) continue;
      ++count;
      for (size_t d = 0; d < channels_; ++d) sums[d] += static_cast<double>(rows[key * channels_ + d]);
    }
    std::vector<float> mean(channels_);
    for (size_t d = 0; d < channels_ && count > 0; ++d) mean[d] = static_cast<float>(sums[d] / count);
    return mean;
  }

  double RoundValue(float x) const {
    switch (call_.format.values) {
      case SageValues::kInt8:
        return static_cast<double>(std::nearbyint(x));
      case SageValues::kFp16:
        return static_cast<double>(x);
      case SageValues::kFp8:
      case SageValues::kFp8Plus:
      case SageValues::kFp8Unit:
        return static_cast<double>(RoundToE4m3Reference(x));
      case SageValues::kFp8UnitFnuz:
        return static_cast<double>(RoundToE4m3FnuzReference(x));
    }
    return 0;
  }

  void RoundValues() {
    const auto mean = call_.smooth_v ? MeanOf(call_.v) : std::vector<float>(channels_);
    values_ = {std::vector<double>(keys_ * channels_), std::vector<double>(channels_), {mean.begin(), mean.end()}};
    for (size_t d = 0; d < channels_; ++d) {
      float most = call_.format.rounding == SageRounding::kAway ? 0 : kSageLeastMagnitude;
      for (size_t key = 0; key < keys_; ++key) {
        if (Present(key)) most = std::max(most, std::abs(call_.v[key * channels_ + d] - mean[d]));
      }
      const bool scales = call_.format.values != SageValues::kFp16;
      float inverse = scales ? Levels(call_.format.values) / most : 1;
      values_.scale[d] = scales ? static_cast<double>(most / Levels(call_.format.values)) : 1;
      if (std::isinf(inverse)) inverse = 0;
      for (size_t key = 0; key < keys_; ++key) {
        if (!Present(key)) continue;
        values_.rounded[key * channels_ + d] = RoundValue((call_.v[key * channels_ + d] - mean[d]) * inverse);
      }
    }
  }

  static size_t PanelsOfGroup(SageValues values) {
    if (values == SageValues::kInt8 || values == SageValues::kFp16) return kSageGroupPanels;
    return values == SageValues::kFp8 || values == SageValues::kFp8Plus ? 1 : kSageUnitPanels;
  }

  // The panels a block of queries sees, cut into groups that share a reference.
  std::vector<std::vector<size_t>> GroupsSeenBy(size_t first, size_t count) const {
    const size_t most = PanelsOfGroup(call_.format.values);
    std::vector<std::vector<size_t>> groups;
    for (size_t panel = 0; panel * kFlashBlock < keys_; ++panel) {
      bool seen = false;
      for (size_t i = first; i < first + count; ++i) {
        for (size_t key = panel * kFlashBlock; key < std::min(keys_, (panel + 1) * kFlashBlock); ++key) {
          seen = seen || Visible(i, key);
        }
      }
      if (!seen) continue;
      if (groups.empty() || groups.back().size() == most) groups.emplace_back();
      groups.back().push_back(panel);
    }
    return groups;
  }

  struct Score {
    size_t key;
    double value;  // log2 units
  };

  // What query `i` of a block sees of a group.
  std::vector<Score> ScoresOf(const SageCodes& queries, size_t i, size_t query,
                              const std::vector<size_t>& panels) const {
    std::vector<Score> scores;
    for (const size_t panel : panels) {
      const size_t begin = panel * kFlashBlock, end = std::min(keys_, begin + kFlashBlock);
      const SageCodes& keys = panels_[panel];
      for (size_t key = begin; key < end; ++key) {
        if (!Visible(query, key)) continue;
        int64_t sum = 0;
        for (size_t d = 0; d < channels_; ++d) {
          sum += int64_t{queries.codes[i * channels_ + d]} * keys.codes[(key - begin) * channels_ + d];
        }
        const double scale = static_cast<double>(queries.scales[i]) * static_cast<double>(keys.scales[key - begin]);
        const bool folded = call_.format.rounding == SageRounding::kAway;
        const double rest = folded ? 1 : static_cast<double>(call_.format.rows.scale_log2);
        scores.push_back({key, static_cast<double>(sum) * scale * rest});
      }
    }
    return scores;
  }

  SageCodes KeyCodes(size_t begin, size_t end) const {
    std::vector<float> rows(call_.k.begin() + static_cast<int64_t>(begin * channels_),
                            call_.k.begin() + static_cast<int64_t>(end * channels_));
    for (size_t key = begin; key < end; ++key) {
      if (Present(key)) continue;
      std::copy(key_mean_.begin(), key_mean_.end(), rows.begin() + static_cast<int64_t>((key - begin) * channels_));
    }
    return QuantizeSageKeys(rows, key_mean_, call_.format);
  }

  void Attend(const SageCodes& codes, size_t i, size_t query, const std::vector<std::vector<size_t>>& groups,
              SageReferenceResult* result) const {
    double reference = -INFINITY, total = 0;
    std::vector<double> out(channels_);
    for (const auto& panels : groups) {
      const auto scores = ScoresOf(codes, i, query, panels);
      if (scores.empty()) continue;
      double offset = -INFINITY;
      for (const Score& score : scores) offset = std::max(offset, score.value - Top());
      const double raised = std::max(reference, offset), old_factor = std::exp2(reference - raised);
      const bool own = call_.format.values == SageValues::kInt8;
      const double new_factor = own ? std::exp2(offset - raised) : 1;
      reference = raised;
      total = total * old_factor + new_factor * AddGroup(scores, own ? offset : raised, old_factor, new_factor, &out);
    }
    if (total == 0) return;
    double shift = 0;
    for (size_t d = 0; d < channels_; ++d) {
      result->out[query * channels_ + d] = out[d] / total * values_.scale[d] + values_.mean[d];
      shift += static_cast<double>(call_.q[query * channels_ + d]) * static_cast<double>(key_mean_[d]);
    }
    const auto scale_log2 = static_cast<double>(call_.format.rows.scale_log2);
    result->lse[query] = (reference + std::log2(total) + shift * scale_log2) * kLn2;
  }

  double Top() const {
    if (call_.format.values == SageValues::kInt8) return static_cast<double>(kSageLog2Int8);
    const bool stretched = call_.format.values == SageValues::kFp8 || call_.format.values == SageValues::kFp8Plus;
    return stretched ? static_cast<double>(kSageLog2Fp8) : 0;
  }

  // Returns the sum of probabilities that goes with what it adds to `out`.
  double AddGroup(const std::vector<Score>& scores, double offset, double old_factor, double new_factor,
                  std::vector<double>* out) const {
    std::vector<double> weights(scores.size());
    double total = 0;
    for (size_t n = 0; n < scores.size(); ++n) {
      const double weight = std::exp2(scores[n].value - offset);
      const bool whole = call_.format.values == SageValues::kInt8, e4m3 = call_.format.values >= SageValues::kFp8;
      weights[n] = whole ? std::nearbyint(weight) : e4m3 ? RoundValue(static_cast<float>(weight)) : weight;
      total += whole ? weights[n] : weight;
    }
    for (size_t d = 0; d < channels_; ++d) {
      double sum = 0;
      for (size_t n = 0; n < scores.size(); ++n) {
        sum += weights[n] * values_.rounded[scores[n].key * channels_ + d];
        const bool last = n + 1 == scores.size();
        if (call_.format.values != SageValues::kFp8Plus) continue;
        if (last || scores[n + 1].key / kSageHalfKeys != scores[n].key / kSageHalfKeys) {
          sum = static_cast<double>(ToFloat(ToFloat16(static_cast<float>(sum))));
        }
      }
      (*out)[d] = (*out)[d] * old_factor + sum * new_factor;
    }
    return total;
  }

  const SageReferenceCall& call_;
  const size_t channels_, queries_, keys_;
  std::vector<float> key_mean_;
  Values values_;
  std::vector<SageCodes> panels_;  // of keys
};

}  // namespace

SageCodes QuantizeSageQueries(std::span<const float> rows, const SageFormat& format) {
  const std::vector<float> no_mean(static_cast<size_t>(format.rows.channels));
  const float fold = format.rounding == SageRounding::kAway ? format.rows.scale_log2 : 1;
  return Quantize({rows, no_mean, fold, QueryGroup}, format);
}

SageCodes QuantizeSageKeys(std::span<const float> rows, std::span<const float> mean, const SageFormat& format) {
  return Quantize({rows, mean, 1, KeyGroup}, format);
}

float RoundToE4m3Reference(float x) { return RoundToFloat8(x, -6, kSageMostFp8); }
float RoundToE4m3FnuzReference(float x) { return RoundToFloat8(x, -7, kSageMostFnuz); }

SageReferenceResult RunSageReference(const SageReferenceCall& call) { return Reference(call).Run(); }

}  // namespace tessera
