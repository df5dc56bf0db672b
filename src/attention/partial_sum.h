// Attention of some queries over one set of keys after the other, added up by the log-sum-exp of each.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace tessera {

class PartialSum {
 public:
  static size_t Bytes(int64_t queries, int channels) noexcept;
  // `memory` holds Bytes(queries, channels) and is aligned for floats.
  PartialSum(std::byte* memory, int64_t queries, int channels) noexcept;

  void Clear() noexcept;
  // A normalised row and its log-sum-exp; -inf adds nothing.
  void Add(int64_t query, const float* row, float lse) noexcept;
  // Writes the normalised row and returns its log-sum-exp; 0 and -inf where nothing was added.
  float Write(int64_t query, DType dtype, void* row) const noexcept;

 private:
  int64_t queries_;
  int channels_;
  float *rows_, *most_, *weight_;  // rows and weights count in exp(most)
};

}  // namespace tessera
