#include "models/token_embedding.h"

#include <fmt/format.h>

#include "base/error.h"

namespace tessera {

TokenEmbedding::TokenEmbedding(WeightMap& weights, const std::string& name, int64_t vocabulary, int64_t width)
    : table_(weights.Take(name, {vocabulary, width})) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    if (table_.dtype() == dtype) return;
  }
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{}: {} is {}; supported: f32, bf16, f16", weights.name(), name, Name(table_.dtype())));
}

void TokenEmbedding::Gather(std::span<const int32_t> ids, Tensor& rows) const {
  for (size_t row = 0; row < ids.size(); ++row) {
    if (ids[row] < 0 || ids[row] >= table_.dim(0)) {
      throw Error(ErrorKind::kFormat, fmt::format("token id {} lies outside the text encoder's vocabulary of {}; "
                                                  "tokenizer and text encoder belong to different models",
                                                  ids[row], table_.dim(0)));
    }
    const Tensor from = table_.Narrow(0, ids[row], 1);
    Tensor to = rows.Narrow(0, static_cast<int64_t>(row), 1);
    ConvertElements(from.raw(), from.dtype(), to.mutable_raw(), DType::kF32, table_.dim(1));
  }
}

}  // namespace tessera
