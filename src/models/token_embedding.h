// The embedding table of a text encoder.
#pragma once
#include <span>
#include <string>

#include "tensor/tensor.h"
#include "weights/weight_map.h"

namespace tessera {

class TokenEmbedding {
 public:
  TokenEmbedding() = default;
  // Takes `name` [vocabulary, width], used as it lies in the file. Throws Error{kFormat}, Error{kUnsupported} for
  // numbers that are not f32, bf16 or f16.
  TokenEmbedding(WeightMap& weights, const std::string& name, int64_t vocabulary, int64_t width);

  // rows [ids, width] f32. Throws Error{kFormat} for an id outside of the table.
  void Gather(std::span<const int32_t> ids, Tensor& rows) const;

 private:
  Tensor table_;
};

}  // namespace tessera
