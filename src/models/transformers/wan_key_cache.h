// Keys and values of the frames that a rollout has finished, for the self attention of the frames in work
// (Self-Forcing, arXiv 2506.08009, section 3.4): the first `sink` tokens stay, behind them the oldest make room for new
// ones.
#pragma once
#include <vector>

#include "models/transformers/wan_transformer.h"

namespace tessera {

class WanKeyCache {
 public:
  // Room for `capacity` tokens of every layer, `sink` of them kept for good. Tokens are rotated before they come here,
  // so their order does not matter.
  WanKeyCache(const WanTransformerConfig& config, int64_t capacity, int64_t sink, DType dtype);
  static size_t Bytes(const WanTransformerConfig& config, int64_t capacity, DType dtype) noexcept;

  // The next `tokens` tokens begin; at most capacity - sink. What is stored until the next Begin is theirs.
  void Begin(int64_t tokens) noexcept;
  // Rows [tokens, inner] of the block in work; stored again, they take the same places.
  void Store(int64_t layer, const Tensor& k, const Tensor& v) noexcept;

  const Tensor& k(int64_t layer) const noexcept { return layers_[static_cast<size_t>(layer)].k; }  // [capacity, inner]
  const Tensor& v(int64_t layer) const noexcept { return layers_[static_cast<size_t>(layer)].v; }
  const int32_t& tokens() const noexcept { return tokens_; }  // rows that hold something: the first ones

 private:
  void Write(const Tensor& rows, Tensor& places) const noexcept;

  struct Rows {
    Tensor k, v;
  };
  std::vector<Rows> layers_;
  int64_t capacity_, sink_;
  int64_t begin_ = 0, end_ = 0;  // of the block in work, counted over the whole film
  int32_t tokens_ = 0;
};

}  // namespace tessera
