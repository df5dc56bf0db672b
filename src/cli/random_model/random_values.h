// Deterministic random weights, fast enough to fill a disk: one block of normal numbers, read from another place by
// every tensor.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "cli/random_model/tensor_list.h"
#include "tensor/dtype.h"

namespace tessera {

class RandomValues {
 public:
  explicit RandomValues(uint64_t seed);

  // Elements [first, first + count) of the tensor, in `dtype` (f32, bf16, f16; a counter is i64). The same for any
  // split into parts.
  void Fill(const TensorSpec& spec, DType dtype, int64_t first, int64_t count, std::byte* to) const;

 private:
  uint64_t seed_;
  std::vector<float> block_;  // standard normal; its prime length keeps the rows of a matrix different
};

}  // namespace tessera
