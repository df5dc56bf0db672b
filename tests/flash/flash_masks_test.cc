// Causal masks, key lengths and packed sequences of flash attention.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "flash/attention_call.h"

namespace tessera {
namespace {

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
    for (int64_t b = 0; b < 5; ++b) PoisonKeys(&call, b, call.key_lengths[static_cast<size_t>(b)]);
    call.ExpectRight(VisibilityOf(call));
  }
}

void ExpectPackedSequences(const std::string& line) {
  AttentionCall call(line);
  call.cu_seqlens_q = {0, 5, 5, 70, 71, 200, 230, 290};
  call.cu_seqlens_k = {0, 9, 20, 20, 100, 229, 300, 330};
  PoisonKeys(&call, 0, 330);
  call.ExpectRight(PackedVisibility(call));
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
