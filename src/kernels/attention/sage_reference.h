// SageAttention's recipes in plain loops for one head: the definition that the kernels of sage.h are checked against.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/attention/sage.h"

namespace tessera {

// Whole numbers up to kSageLevels, [rows][channels], and the scale of every row.
struct SageCodes {
  std::vector<int32_t> codes;
  std::vector<float> scales;
};

// Rows are [rows][channels] and start at a block of queries or a panel of keys; `mean` is [channels].
SageCodes QuantizeSageQueries(std::span<const float> rows, int channels, SageGranularity granularity);
SageCodes QuantizeSageKeys(std::span<const float> rows, std::span<const float> mean, SageGranularity granularity);

// To nearest even, saturated at 448.
float RoundToE4m3Reference(float x);

struct SageReferenceCall {
  SageFormat format;  // rows.channels, rows.scale_log2, granularity and values count
  bool smooth_k = true, smooth_v = false;
  std::span<const float> q, k, v;                           // [rows][channels]
  std::function<bool(int64_t query, int64_t key)> visible;  // null: all
  std::function<bool(int64_t key)> present;                 // counts in means and scales; null: all
};

struct SageReferenceResult {
  std::vector<double> out;  // [queries][channels]
  std::vector<double> lse;  // [queries], natural log; -inf and out = 0 where no key was seen
};

SageReferenceResult RunSageReference(const SageReferenceCall& call);

}  // namespace tessera
