// The shim hands every field of the plain structure to AITER's own.
#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

#include "aiter/attn_aiter.h"
#include "mha_fwd.h"

namespace {

struct Seen {
  aiter::mha_fwd_args args{};
  ck_tile::stream_config stream;
  float answer = 0;
};

Seen& Last() {
  static Seen seen;
  return seen;
}

}  // namespace

float aiter::mha_fwd(mha_fwd_args args, const ck_tile::stream_config& stream) {
  Last().args = std::move(args);
  Last().stream = stream;
  return Last().answer;
}

namespace {

// Every 32-bit number from `first` to `last` of a structure holds its own place.
template <class Number>
bool Counts(const Number& first, const Number& last, int32_t from) {
  const auto* at = reinterpret_cast<const unsigned char*>(&first);
  const auto* end = reinterpret_cast<const unsigned char*>(&last) + sizeof last;
  for (; at != end; at += sizeof(int32_t), ++from) {
    int32_t number;
    std::memcpy(&number, at, sizeof number);
    if (number != from) return false;
  }
  return true;
}

void Count(int32_t* first, int32_t* last, int32_t from) {
  auto* at = reinterpret_cast<unsigned char*>(first);
  auto* end = reinterpret_cast<unsigned char*>(last) + sizeof *last;
  for (; at != end; at += sizeof(int32_t), ++from) std::memcpy(at, &from, sizeof from);
}

TEST(AiterShim, PassesEveryLengthStrideAndWindow) {
  attn_aiter_desc desc{};
  desc.data_type = "bf16";
  Count(&desc.seqlen_q, &desc.nhead_k, 100);
  Count(&desc.stride_q, &desc.batch_stride_v_descale, 200);
  Count(&desc.window_left, &desc.min_seqlen_q, 300);
  ASSERT_EQ(attn_aiter_fwd(&desc, nullptr), 0);
  const aiter::mha_fwd_args& args = Last().args;
  EXPECT_TRUE(Counts(args.seqlen_q, args.nhead_k, 100));
  EXPECT_TRUE(Counts(args.stride_q, args.batch_stride_v_descale, 200));
  EXPECT_TRUE(Counts(args.window_size_left, args.min_seqlen_q, 300));
  EXPECT_EQ(args.data_type, "bf16");
}

TEST(AiterShim, PassesEveryPointerInItsPlace) {
  attn_aiter_desc desc{};
  desc.data_type = "fp16";
  char memory[32];
  const void** slots = &desc.q_ptr;  // pointers from q_ptr to sink_ptr lie side by side
  constexpr int kSlots = 19;
  for (int i = 0; i < kSlots; ++i) slots[i] = memory + i;
  ASSERT_EQ(desc.sink_ptr, memory + kSlots - 1);
  ASSERT_EQ(attn_aiter_fwd(&desc, nullptr), 0);
  EXPECT_EQ(std::memcmp(&Last().args.q_ptr, &desc.q_ptr, kSlots * sizeof(void*)), 0);
}

TEST(AiterShim, NeverLetsTheCallBenchmarkItself) {
  attn_aiter_desc desc{};
  desc.data_type = "bf16";
  int stream = 0;
  ASSERT_EQ(attn_aiter_fwd(&desc, &stream), 0);
  EXPECT_EQ(Last().stream.stream_id_, &stream);
  EXPECT_FALSE(Last().stream.time_kernel_);
}

TEST(AiterShim, SaysThatThereIsNoKernel) {
  attn_aiter_desc desc{};
  desc.data_type = "bf16";
  Last().answer = -1;
  EXPECT_EQ(attn_aiter_fwd(&desc, nullptr), -1);
  Last().answer = 0;
}

}  // namespace
