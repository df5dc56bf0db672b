#include "kernels/attention/sage_reference.h"

#include <algorithm>
#include <cmath>

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

SageCodes Quantize(std::span<const float> rows, std::span<const float> mean, int (*group_of)(SageGranularity, int),
                   SageGranularity granularity) {
  const size_t channels = mean.size(), count = rows.size() / channels;
  const auto group = [&](size_t row) { return static_cast<size_t>(group_of(granularity, static_cast<int>(row))); };
  std::vector<float> most(kFlashBlock, kSageLeastMagnitude);
  for (size_t i = 0; i < rows.size(); ++i) {
    float& of_group = most[group(i / channels)];
    of_group = std::max(of_group, std::abs(rows[i] - mean[i % channels]));
  }
  SageCodes result{std::vector<int32_t>(rows.size()), std::vector<float>(count)};
  for (size_t row = 0; row < count; ++row) {
    const float inverse = kSageLevels / most[group(row)];
    result.scales[row] = most[group(row)] / kSageLevels;
    for (size_t d = 0; d < channels; ++d) {
      const float centred = rows[row * channels + d] - mean[d];
      result.codes[row * channels + d] = static_cast<int32_t>(std::nearbyint(centred * inverse));
    }
  }
  return result;
}

struct Values {
  std::vector<double> rounded;      // [keys][channels]
  std::vector<double> scale, mean;  // [channels]
};

float Levels(SageValues values) {
  if (values == SageValues::kInt8) return kSageLevels;
  return values == SageValues::kFp8 ? kSageMostFp8 : kSageMostFp8Plus;
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
    for (size_t begin = 0; begin < keys_; begin += kFlashBlock) {
      panels_.push_back(KeyCodes(begin, std::min(keys_, begin + kFlashBlock)));
    }
  }

  SageReferenceResult Run() {
    SageReferenceResult result{std::vector<double>(queries_ * channels_), std::vector<double>(queries_, -INFINITY)};
    for (size_t first = 0; first < queries_; first += kFlashBlock) {
      const size_t count = std::min<size_t>(kFlashBlock, queries_ - first);
      const auto codes = QuantizeSageQueries(call_.q.subspan(first * channels_, count * channels_),
                                             static_cast<int>(channels_), call_.format.granularity);
      const auto groups = GroupsSeenBy(first, count);
      for (size_t i = 0; i < count; ++i) Attend(codes, i, first + i, groups, &result);
    }
    return result;
  }

 private:
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
        return static_cast<double>(RoundToE4m3Reference(x));
    }
    return 0;
  }

  void RoundValues() {
    const auto mean = call_.smooth_v ? MeanOf(call_.v) : std::vector<float>(channels_);
    values_ = {std::vector<double>(keys_ * channels_), std::vector<double>(channels_), {mean.begin(), mean.end()}};
    for (size_t d = 0; d < channels_; ++d) {
      float most = kSageLeastMagnitude;
      for (size_t key = 0; key < keys_; ++key) {
        if (Present(key)) most = std::max(most, std::abs(call_.v[key * channels_ + d] - mean[d]));
      }
      const bool scales = call_.format.values != SageValues::kFp16;
      const float inverse = scales ? Levels(call_.format.values) / most : 1;
      values_.scale[d] = scales ? static_cast<double>(most / Levels(call_.format.values)) : 1;
      for (size_t key = 0; key < keys_; ++key) {
        if (!Present(key)) continue;
        values_.rounded[key * channels_ + d] = RoundValue((call_.v[key * channels_ + d] - mean[d]) * inverse);
      }
    }
  }

  // The panels a block of queries sees, cut into groups that share a reference.
  std::vector<std::vector<size_t>> GroupsSeenBy(size_t first, size_t count) const {
    const bool whole = call_.format.values == SageValues::kInt8 || call_.format.values == SageValues::kFp16;
    const size_t most = whole ? kSageGroupPanels : 1;
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
        scores.push_back({key, static_cast<double>(sum) * scale * static_cast<double>(call_.format.rows.scale_log2)});
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
    return QuantizeSageKeys(rows, key_mean_, call_.format.granularity);
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
    if (call_.format.values == SageValues::kFp16) return 0;
    return static_cast<double>(call_.format.values == SageValues::kInt8 ? kSageLog2Int8 : kSageLog2Fp8);
  }

  // Returns the sum of probabilities that goes with what it adds to `out`.
  double AddGroup(const std::vector<Score>& scores, double offset, double old_factor, double new_factor,
                  std::vector<double>* out) const {
    std::vector<double> weights(scores.size());
    double total = 0;
    for (size_t n = 0; n < scores.size(); ++n) {
      const double weight = std::exp2(scores[n].value - offset);
      const bool whole = call_.format.values == SageValues::kInt8, e4m3 = call_.format.values >= SageValues::kFp8;
      weights[n] = whole  ? std::nearbyint(weight)
                   : e4m3 ? static_cast<double>(RoundToE4m3Reference(static_cast<float>(weight)))
                          : weight;
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

SageCodes QuantizeSageQueries(std::span<const float> rows, int channels, SageGranularity granularity) {
  const std::vector<float> no_mean(static_cast<size_t>(channels));
  return Quantize(rows, no_mean, QueryGroup, granularity);
}

SageCodes QuantizeSageKeys(std::span<const float> rows, std::span<const float> mean, SageGranularity granularity) {
  return Quantize(rows, mean, KeyGroup, granularity);
}

float RoundToE4m3Reference(float x) {
  if (x == 0) return x;
  const int exponent = std::max(static_cast<int>(std::floor(std::log2(std::abs(x)))), -6);
  const float step = std::ldexp(1.0f, exponent - 3);
  return std::copysign(std::min(kSageMostFp8, std::nearbyint(std::abs(x) / step) * step), x);
}

SageReferenceResult RunSageReference(const SageReferenceCall& call) { return Reference(call).Run(); }

}  // namespace tessera
