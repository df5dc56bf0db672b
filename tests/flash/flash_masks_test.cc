// Causal masks, key lengths and packed sequences of flash attention.
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "flash/attention_call.h"

namespace tessera {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

void PoisonKey(AttentionCall* call, int64_t batch, int64_t token) {
  for (int head = 0; head < call->problem.kv_heads; ++head) {
    for (int d = 0; d < call->problem.head_dim; ++d) {
      call->k.Set(batch, token, head, d, kNan);
      call->v.Set(batch, token, head, d, std::numeric_limits<double>::infinity());
    }
  }
}

TEST(FlashMasks, AlignsCausalMasksAtEitherCorner) {
  for (const char* mask : {"causal", "causal_tl"}) {
    for (const char* lengths : {"q1 kv1", "q17 kv17", "q64 kv64", "q65 kv65", "q200 kv200", "q300 kv300", "q40 kv170",
                                "q170 kv40", "q129 kv128", "q63 kv190", "q500 kv3"}) {
      for (const char* dtype : {"f32", "bf16"}) {
        AttentionCall call(fmt::format("{} b1 h2/1 d32 {} mask={}", dtype, lengths, mask));
        call.ExpectRight(VisibilityOf(call));
      }
    }
  }
}

TEST(FlashMasks, HidesKeysFromTheirLengthOn) {
  for (const char* line :
       {"f32 b5 h2/2 d32 q50 kv200 mask=lens", "bf16 b5 h2/1 d40 q50 kv200 mask=lens",
        "f32 b5 h2/2 d32 q150 kv200 mask=causal+lens", "f16 b5 h2/2 d32 q200 kv200 mask=causal_tl+lens"}) {
    AttentionCall call(line);
    call.key_lengths = {200, 0, 1, 64, 131};
    for (int64_t b = 0; b < 5; ++b) {
      for (int64_t token = call.key_lengths[static_cast<size_t>(b)]; token < 200; ++token) PoisonKey(&call, b, token);
    }
    call.ExpectRight(VisibilityOf(call));
  }
}

// Sequence of a token, or -1 past the last.
int SequenceOf(const std::vector<int32_t>& begins, int64_t token) {
  for (size_t s = 0; s + 1 < begins.size(); ++s) {
    if (token >= begins[s] && token < begins[s + 1]) return static_cast<int>(s);
  }
  return -1;
}

void ExpectPackedSequences(const std::string& line) {
  AttentionCall call(line);
  call.cu_seqlens_q = {0, 5, 5, 70, 71, 200, 230, 290};
  call.cu_seqlens_k = {0, 9, 20, 20, 100, 229, 300, 330};
  for (int64_t token = 330; token < 340; ++token) PoisonKey(&call, 0, token);
  call.ExpectRight([&](int64_t, int, int64_t query, int64_t key) {
    const int sequence = SequenceOf(call.cu_seqlens_q, query);
    if (sequence < 0 || SequenceOf(call.cu_seqlens_k, key) != sequence) return false;
    const auto s = static_cast<size_t>(sequence);
    const int64_t i = query - call.cu_seqlens_q[s], j = key - call.cu_seqlens_k[s];
    const int64_t q_len = call.cu_seqlens_q[s + 1] - call.cu_seqlens_q[s];
    const int64_t kv_len = call.cu_seqlens_k[s + 1] - call.cu_seqlens_k[s];
    if ((call.problem.mask & kMaskCausal) != 0) return j <= i + kv_len - q_len;
    return (call.problem.mask & kMaskCausalTopLeft) == 0 || j <= i;
  });
}

TEST(FlashMasks, KeepsPackedSequencesApart) {
  for (const char* mask : {"varlen", "causal+varlen", "causal_tl+varlen"}) {
    for (const char* dtype : {"f32", "bf16", "f16"}) {
      ExpectPackedSequences(fmt::format("{} b1 h4/2 d24 q300 kv340 mask={}", dtype, mask));
    }
  }
}

}  // namespace
}  // namespace tessera
