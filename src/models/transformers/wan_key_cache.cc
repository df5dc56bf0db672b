#include "models/transformers/wan_key_cache.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace tessera {

WanKeyCache::WanKeyCache(const WanTransformerConfig& config, int64_t capacity, int64_t sink, DType dtype)
    : capacity_(capacity), sink_(sink) {
  TESSERA_CHECK(sink >= 0 && sink < capacity);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const Shape shape{capacity, config.inner_dim()};
    layers_.push_back({Tensor::Empty(shape, dtype), Tensor::Empty(shape, dtype)});
  }
}

size_t WanKeyCache::Bytes(const WanTransformerConfig& config, int64_t capacity, DType dtype) noexcept {
  return static_cast<size_t>(2 * config.num_layers * capacity * config.inner_dim()) * SizeOf(dtype);
}

void WanKeyCache::Begin(int64_t tokens) noexcept {
  TESSERA_CHECK(tokens <= capacity_ - sink_);
  begin_ = end_;
  end_ += tokens;
  tokens_ = static_cast<int32_t>(std::min(end_, capacity_));
}

void WanKeyCache::Store(int64_t layer, const Tensor& k, const Tensor& v) noexcept {
  Rows& rows = layers_[static_cast<size_t>(layer)];
  Write(k, rows.k);
  Write(v, rows.v);
}

// Token p of the film is at p while there is room; later ones go round behind the sink. Runs of neighbours are copied.
void WanKeyCache::Write(const Tensor& rows, Tensor& places) const noexcept {
  TESSERA_CHECK(rows.dim(0) == end_ - begin_ && rows.dtype() == places.dtype());
  const size_t bytes = static_cast<size_t>(rows.dim(1)) * SizeOf(rows.dtype());
  const auto* from = static_cast<const std::byte*>(rows.raw());
  auto* to = static_cast<std::byte*>(places.mutable_raw());
  for (int64_t at = begin_; at < end_;) {
    const int64_t place = at < sink_ ? at : sink_ + (at - sink_) % (capacity_ - sink_);
    const int64_t room = at < sink_ ? sink_ - at : capacity_ - place;
    const int64_t count = std::min(room, end_ - at);
    std::memcpy(to + static_cast<size_t>(place) * bytes, from + static_cast<size_t>(at - begin_) * bytes,
                static_cast<size_t>(count) * bytes);
    at += count;
  }
}

}  // namespace tessera
