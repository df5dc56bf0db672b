#include "models/transformers/wan_key_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

namespace tessera {
namespace {

WanTransformerConfig OneLayer() {
  WanTransformerConfig config;
  config.num_layers = 1;
  config.num_attention_heads = 1;
  config.attention_head_dim = 2;
  return config;
}

Tensor Rows(int64_t first, int64_t count, float sign) {
  Tensor rows = Tensor::Empty({count, 2}, DType::kF32);
  for (int64_t i = 0; i < 2 * count; ++i) rows.mutable_data<float>()[i] = sign * static_cast<float>(first + i / 2);
  return rows;
}

std::vector<float> Sorted(const Tensor& rows, int32_t count) {
  std::vector<float> values;
  for (int32_t i = 0; i < count; ++i) {
    values.push_back(rows.data<float>()[2 * i]);
    EXPECT_EQ(values.back(), rows.data<float>()[2 * i + 1]);
  }
  std::sort(values.begin(), values.end());
  return values;
}

// Any sequence of block sizes: the first `sink` tokens and the newest others are there, whatever is stored twice.
TEST(WanKeyCache, KeepsTheSinkAndTheNewestTokens) {
  for (const auto& [capacity, sink] : {std::pair<int64_t, int64_t>{10, 0}, {10, 3}, {7, 2}, {64, 5}}) {
    WanKeyCache cache(OneLayer(), capacity, sink, DType::kF32);
    int64_t done = 0;
    for (const int64_t count : {1, 5, 4, 5, 2, 3, 5, 5, 1}) {
      cache.Begin(count);
      cache.Store(0, Rows(-100, count, 1), Rows(-100, count, 1));
      cache.Store(0, Rows(done, count, 1), Rows(done, count, -1));
      done += count;
      std::vector<float> expected;
      for (int64_t token = 0; token < done; ++token) {
        if (token < sink || token >= done - (capacity - sink) || done <= capacity) {
          expected.push_back(static_cast<float>(token));
        }
      }
      EXPECT_EQ(Sorted(cache.k(0), cache.tokens()), expected) << capacity << " " << sink << " " << done;
      std::vector<float> negative(expected.rbegin(), expected.rend());
      for (float& value : negative) value = -value;
      EXPECT_EQ(Sorted(cache.v(0), cache.tokens()), negative);
    }
  }
}

TEST(WanKeyCache, CountsItsBytes) { EXPECT_EQ(WanKeyCache::Bytes(OneLayer(), 10, DType::kBF16), 2u * 10 * 2 * 2); }

}  // namespace
}  // namespace tessera
