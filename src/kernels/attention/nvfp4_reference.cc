#include "kernels/attention/nvfp4_reference.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace tessera {
namespace {

constexpr double kLn2 = 0.6931471805599453;
constexpr uint8_t kE2m1Sign = 8, kE2m1Codes = 8, kE4m3Sign = 0x80, kE4m3Codes = 0x7F;
constexpr size_t kGroup = kNvfp4Group;

// The code, of `codes` ascending magnitudes, whose value is nearest.
template <class Decode>
uint8_t NearestCode(float magnitude, uint8_t codes, Decode decode) {
  uint8_t best = 0;
  for (uint8_t code = 1; code < codes; ++code) {
    const double below = static_cast<double>(magnitude) - static_cast<double>(decode(best));
    const double above = static_cast<double>(decode(code)) - static_cast<double>(magnitude);
    if (above < below || (above == below && code % 2 == 0)) best = code;
  }
  return best;
}

class Reference {
 public:
  explicit Reference(const Nvfp4ReferenceCall& call)
      : call_(call),
        channels_(static_cast<size_t>(call.format.rows.channels)),
        queries_(call.q.size() / channels_),
        keys_(call.k.size() / channels_),
        key_mean_(channels_),
        k_(call.k.begin(), call.k.end()),
        v_(call.v.begin(), call.v.end()) {
    std::vector<size_t> present;
    for (size_t key = 0; key < keys_; ++key) {
      if (Present(key)) present.push_back(key);
    }
    if (call.smooth_k) key_mean_ = MeanOf(call.k, present);
    for (size_t i = 0; i < k_.size(); ++i) {
      if (Present(i / channels_)) continue;
      k_[i] = key_mean_[i % channels_];
      v_[i] = 0;
    }
    rounded_k_ = RoundNvfp4Rows(k_, key_mean_);
    rounded_v_ = RoundNvfp4Columns(v_, call.format.rows.channels);
  }

  Nvfp4ReferenceResult Run() {
    result_ = {std::vector<double>(queries_ * channels_), std::vector<double>(queries_, -INFINITY)};
    const size_t step = call_.per_block_mean ? kNvfp4MeanQueries : std::max<size_t>(queries_, 1);
    for (size_t first = 0; first < queries_; first += step) RunChunk(first, std::min(queries_, first + step));
    return std::move(result_);
  }

 private:
  bool Present(size_t key) const { return !call_.present || call_.present(static_cast<int64_t>(key)); }
  bool Visible(size_t query, size_t key) const {
    return Present(key) && (!call_.visible || call_.visible(static_cast<int64_t>(query), static_cast<int64_t>(key)));
  }

  std::vector<float> MeanOf(std::span<const float> rows, const std::vector<size_t>& chosen) const {
    std::vector<float> mean(channels_);
    for (size_t d = 0; d < channels_ && !chosen.empty(); ++d) {
      double sum = 0;
      for (const size_t row : chosen) sum += static_cast<double>(rows[row * channels_ + d]);
      mean[d] = static_cast<float>(sum / static_cast<double>(chosen.size()));
    }
    return mean;
  }

  // Queries that share a mean.
  void RunChunk(size_t first, size_t end) {
    std::vector<size_t> chosen;
    for (size_t query = first; query < end; ++query) chosen.push_back(query);
    const auto mean = MeanOf(call_.q, chosen);
    const auto rounded_q = RoundNvfp4Rows(call_.q.subspan(first * channels_, (end - first) * channels_), mean);
    std::vector<double> mean_scores(keys_);
    for (size_t i = 0; i < keys_ * channels_; ++i) {
      const size_t d = i % channels_;
      mean_scores[i / channels_] += static_cast<double>(mean[d]) * static_cast<double>(k_[i] - key_mean_[d]);
    }
    for (size_t block = first; block < end; block += kFlashBlock) {
      const auto groups = GroupsSeenBy(block, std::min<size_t>(end, block + kFlashBlock));
      for (size_t query = block; query < std::min<size_t>(end, block + kFlashBlock); ++query) {
        Attend(query, std::span(rounded_q).subspan((query - first) * channels_, channels_), mean_scores, groups);
      }
    }
  }

  // First keys of the panels a block of queries sees, in runs that move the reference together.
  std::vector<std::vector<size_t>> GroupsSeenBy(size_t first, size_t end) const {
    std::vector<std::vector<size_t>> groups;
    for (size_t panel = 0; panel < keys_; panel += kFlashBlock) {
      bool seen = false;
      for (size_t query = first; query < end; ++query) {
        for (size_t key = panel; key < std::min(keys_, panel + kFlashBlock); ++key) seen |= Visible(query, key);
      }
      if (!seen) continue;
      if (groups.empty() || groups.back().size() == kNvfp4GroupPanels) groups.emplace_back();
      groups.back().push_back(panel);
    }
    return groups;
  }

  void Attend(size_t query, std::span<const float> rounded_q, const std::vector<double>& mean_scores,
              const std::vector<std::vector<size_t>>& groups) {
    const auto scale = static_cast<double>(call_.format.rows.scale_log2);
    std::vector<double> scores(keys_, -INFINITY), out(channels_);
    double most = -INFINITY, sum = 0;
    for (const auto& panels : groups) {
      const double before = most;
      for (const size_t panel : panels) {
        for (size_t key = panel; key < std::min(keys_, panel + kFlashBlock); ++key) {
          if (!Visible(query, key)) continue;
          double score = mean_scores[key];
          for (size_t d = 0; d < channels_; ++d) {
            score += static_cast<double>(rounded_q[d]) * static_cast<double>(rounded_k_[key * channels_ + d]);
          }
          scores[key] = score * scale;
          most = std::max(most, scores[key]);
        }
      }
      if (most == -INFINITY) continue;
      const double factor = std::exp2(before - most);
      sum *= factor;
      for (double& x : out) x *= factor;
      for (const size_t panel : panels) sum += AddPanel(panel, most, scores, &out);
    }
    if (sum == 0) return;
    double shift = 0;
    for (size_t d = 0; d < channels_; ++d) {
      result_.out[query * channels_ + d] = out[d] / sum;
      shift += static_cast<double>(call_.q[query * channels_ + d]) * static_cast<double>(key_mean_[d]);
    }
    const auto top = static_cast<double>(kNvfp4Log2Top);
    result_.lse[query] = (most + std::log2(sum) - top + shift * scale) * kLn2;
  }

  // Adds a panel's probabilities times its values to `out`; returns what they add to the sum.
  double AddPanel(size_t panel, double most, const std::vector<double>& scores, std::vector<double>* out) const {
    double sum = 0;
    for (size_t first = panel; first < std::min(keys_, panel + kFlashBlock); first += kGroup) {
      std::array<float, kGroup> p{};
      const size_t count = std::min(kGroup, keys_ - first);
      for (size_t j = 0; j < count; ++j) {
        p[j] = static_cast<float>(std::exp2(scores[first + j] - most + static_cast<double>(kNvfp4Log2Top)));
      }
      const auto rounded = RoundProbabilities(p);
      for (size_t j = 0; j < count; ++j) {
        const auto weight = static_cast<double>(rounded[j]);
        sum += call_.format.sum_quantized ? weight : static_cast<double>(p[j]);
        for (size_t d = 0; d < channels_; ++d) {
          (*out)[d] += weight * static_cast<double>(rounded_v_[(first + j) * channels_ + d]);
        }
      }
    }
    return sum;
  }

  std::array<float, kGroup> RoundProbabilities(const std::array<float, kGroup>& p) const {
    const float scale = *std::max_element(p.begin(), p.end()) / kNvfp4MostCode;
    const float rounded = DecodeE4m3(EncodeE4m3(scale));
    std::array<float, kGroup> result{};
    for (size_t j = 0; j < kGroup && rounded > 0; ++j) {
      result[j] = DecodeE2m1(EncodeE2m1(p[j] / (call_.format.divide_rounded ? rounded : scale))) * rounded;
    }
    return result;
  }

  const Nvfp4ReferenceCall& call_;
  const size_t channels_, queries_, keys_;
  std::vector<float> key_mean_, k_, v_, rounded_k_, rounded_v_;
  Nvfp4ReferenceResult result_;
};

}  // namespace

float DecodeE2m1(uint8_t code) {
  const int exponent = code >> 1 & 3, fraction = code & 1;
  const float magnitude = exponent == 0 ? static_cast<float>(fraction) / 2
                                        : std::ldexp(1.0f + static_cast<float>(fraction) / 2, exponent - 1);
  return (code & kE2m1Sign) != 0 ? -magnitude : magnitude;
}

uint8_t EncodeE2m1(float x) {
  const uint8_t code = NearestCode(std::abs(x), kE2m1Codes, DecodeE2m1);
  return static_cast<uint8_t>(std::signbit(x) ? code | kE2m1Sign : code);
}

float DecodeE4m3(uint8_t code) {
  constexpr int kBias = 7;
  if ((code & kE4m3Codes) == kE4m3Codes) return std::numeric_limits<float>::quiet_NaN();
  const int exponent = code >> 3 & 15;
  const float fraction = static_cast<float>(code & 7) / 8;
  const float magnitude =
      exponent == 0 ? std::ldexp(fraction, 1 - kBias) : std::ldexp(1.0f + fraction, exponent - kBias);
  return (code & kE4m3Sign) != 0 ? -magnitude : magnitude;
}

uint8_t EncodeE4m3(float x) {
  if (std::isnan(x)) return kE4m3Codes;
  const uint8_t code = NearestCode(std::abs(x), kE4m3Codes, DecodeE4m3);
  return static_cast<uint8_t>(std::signbit(x) ? code | kE4m3Sign : code);
}

Nvfp4Numbers QuantizeNvfp4(std::span<const float> numbers) {
  Nvfp4Numbers result{std::vector<uint8_t>(numbers.size() / 2), std::vector<uint8_t>(numbers.size() / kGroup)};
  for (size_t group = 0; group < result.scales.size(); ++group) {
    float most = 0;
    for (size_t i = group * kGroup; i < (group + 1) * kGroup; ++i) most = std::max(most, std::abs(numbers[i]));
    result.scales[group] = EncodeE4m3(most / kNvfp4MostCode);
    const float scale = DecodeE4m3(result.scales[group]);
    for (size_t i = group * kGroup; i < (group + 1) * kGroup && scale > 0; ++i) {
      const int code = EncodeE2m1(numbers[i] / scale);
      result.codes[i / 2] = static_cast<uint8_t>(result.codes[i / 2] | code << (i % 2 * 4));
    }
  }
  return result;
}

std::vector<float> DequantizeNvfp4(const Nvfp4Numbers& numbers) {
  std::vector<float> result(numbers.codes.size() * 2);
  for (size_t i = 0; i < result.size(); ++i) {
    const int code = numbers.codes[i / 2] >> (i % 2 * 4) & 15;
    result[i] = DecodeE2m1(static_cast<uint8_t>(code)) * DecodeE4m3(numbers.scales[i / kGroup]);
  }
  return result;
}

std::vector<float> RoundNvfp4Rows(std::span<const float> rows, std::span<const float> mean) {
  const size_t channels = mean.size(), padded = (channels + kGroup - 1) / kGroup * kGroup;
  std::vector<float> result;
  for (size_t first = 0; first < rows.size(); first += channels) {
    std::vector<float> row(padded);
    for (size_t d = 0; d < channels; ++d) row[d] = rows[first + d] - mean[d];
    row = DequantizeNvfp4(QuantizeNvfp4(row));
    result.insert(result.end(), row.begin(), row.begin() + static_cast<int64_t>(channels));
  }
  return result;
}

std::vector<float> RoundNvfp4Columns(std::span<const float> rows, int channels) {
  const auto width = static_cast<size_t>(channels);
  const size_t count = rows.size() / width, padded = (count + kGroup - 1) / kGroup * kGroup;
  std::vector<float> result(rows.size());
  for (size_t d = 0; d < width; ++d) {
    std::vector<float> column(padded);
    for (size_t row = 0; row < count; ++row) column[row] = rows[row * width + d];
    column = DequantizeNvfp4(QuantizeNvfp4(column));
    for (size_t row = 0; row < count; ++row) result[row * width + d] = column[row];
  }
  return result;
}

Nvfp4ReferenceResult RunNvfp4Reference(const Nvfp4ReferenceCall& call) { return Reference(call).Run(); }

}  // namespace tessera
