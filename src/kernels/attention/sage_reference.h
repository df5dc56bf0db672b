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

// Rows are [rows][channels] and start at a block of queries or a panel of keys; `mean` is [channels]. With kPerBlock
// all of them share a scale. With SageRounding::kAway the scales of queries include scale_log2.
SageCodes QuantizeSageQueries(std::span<const float> rows, const SageFormat& format);
SageCodes QuantizeSageKeys(std::span<const float> rows, std::span<const float> mean, const SageFormat& format);

// To nearest even, saturated at 448.
float RoundToE4m3Reference(float x);
// Of AMD's kind with an exponent bias of 8, saturated at 240.
float RoundToE4m3FnuzReference(float x);

struct SageReferenceCall {
  SageFormat format;                        // rows.channels, rows.scale_log2, granularity, values and rounding count
  size_t query_block = 64, key_block = 64;  // of kPerBlock: rows that share a scale; multiples of 64
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
