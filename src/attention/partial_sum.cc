#include "attention/partial_sum.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tessera {
namespace {

constexpr float kNoKey = -std::numeric_limits<float>::infinity();

template <class Element>
void WriteRow(const float* from, float factor, int channels, Element* to) noexcept {
  for (int d = 0; d < channels; ++d) Store(from[d] * factor, to + d);
}

}  // namespace

size_t PartialSum::Bytes(int64_t queries, int channels) noexcept {
  return static_cast<size_t>(queries) * static_cast<size_t>(channels + 2) * sizeof(float);
}

PartialSum::PartialSum(std::byte* memory, int64_t queries, int channels) noexcept
    : queries_(queries),
      channels_(channels),
      rows_(reinterpret_cast<float*>(memory)),
      most_(rows_ + queries * channels),
      weight_(most_ + queries) {}

void PartialSum::Clear() noexcept {
  std::fill_n(rows_, queries_ * channels_, 0.0f);
  std::fill_n(most_, queries_, kNoKey);
  std::fill_n(weight_, queries_, 0.0f);
}

void PartialSum::Add(int64_t query, const float* row, float lse) noexcept {
  if (lse == kNoKey) return;
  float* const sum = rows_ + query * channels_;
  float old_share = 1, share = 1;
  if (lse > most_[query]) {
    old_share = std::exp(most_[query] - lse);
    most_[query] = lse;
  } else {
    share = std::exp(lse - most_[query]);
  }
  weight_[query] = weight_[query] * old_share + share;
  for (int d = 0; d < channels_; ++d) sum[d] = sum[d] * old_share + share * row[d];
}

float PartialSum::Write(int64_t query, DType dtype, void* row) const noexcept {
  const float* const sum = rows_ + query * channels_;
  const float weight = weight_[query], factor = weight == 0 ? 0 : 1 / weight;
  if (dtype == DType::kF32) {
    WriteRow(sum, factor, channels_, static_cast<float*>(row));
  } else if (dtype == DType::kBF16) {
    WriteRow(sum, factor, channels_, static_cast<BFloat16*>(row));
  } else {
    WriteRow(sum, factor, channels_, static_cast<Float16*>(row));
  }
  return weight == 0 ? kNoKey : most_[query] + std::log(weight);
}

}  // namespace tessera
