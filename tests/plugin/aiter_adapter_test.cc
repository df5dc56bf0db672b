// What the adapter of AITER hands to the vendor's library, and what it makes of the answer.
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/rules.h"
#include "platform/cpu/cpu.h"
#include "plugin/vendor_run.h"
#include "plugin/vendors/aiter.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class AiterAdapter : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    hip_ = OpenStandIn("libamdhip64.so");
    record_ = StandInFunction<AiterRecord*()>(OpenStandIn("libattn_aiter_shim.so"), "standin_aiter_record")();
  }
  AiterAdapter() { *record_ = {}; }
  ~AiterAdapter() override {
    record_->answer = 0;
    EXPECT_EQ(StandInFunction<int()>(hip_, "standin_hip_live")(), 0) << "memory is lost";
  }

  const AttentionBackend& backend() const { return *adapter_->backends()[0]; }
  const attn_aiter_desc& RunAndRecord(const std::string& line, const Options& options = {}) {
    EXPECT_EQ(RunOn(backend(), line, options), "") << line;
    EXPECT_EQ(record_->calls, 1);
    return record_->desc;
  }
  std::vector<std::string_view> RefusalsOf(const std::string& line) const {
    return Refusals(backend(), ParseAttentionProblem(line), CpuDevice());
  }

  static inline void* hip_ = nullptr;
  static inline AiterRecord* record_ = nullptr;
  const std::shared_ptr<const AttentionPlugin> adapter_ = LoadAdapter("tessera_aiter.so");
};

TEST_F(AiterAdapter, DescribesContiguousRowsOfGroupedHeads) {
  const attn_aiter_desc& d = RunAndRecord("bf16 b2 h6/3 d40 q7 kv9 scale=0.3 lse");
  EXPECT_STREQ(d.data_type, "bf16");
  EXPECT_THAT(std::vector<int>({d.seqlen_q, d.seqlen_k, d.batch, d.max_seqlen_q}), ElementsAre(7, 9, 2, 7));
  EXPECT_THAT(std::vector<int>({d.nhead_q, d.nhead_k, d.hdim_q, d.hdim_v}), ElementsAre(6, 3, 40, 40));
  EXPECT_THAT(std::vector<int>({d.stride_q, d.stride_k, d.stride_v, d.stride_o}), ElementsAre(240, 120, 120, 240));
  EXPECT_THAT(std::vector<int>({d.nhead_stride_q, d.nhead_stride_k, d.nhead_stride_v, d.nhead_stride_o}),
              ElementsAre(40, 40, 40, 40));
  EXPECT_THAT(std::vector<int>({d.batch_stride_q, d.batch_stride_k, d.batch_stride_v, d.batch_stride_o}),
              ElementsAre(7 * 240, 9 * 120, 9 * 120, 7 * 240));
  EXPECT_THAT(std::vector<int>({d.nhead_stride_lse, d.batch_stride_lse, d.has_lse}), ElementsAre(7, 42, 1));
  EXPECT_EQ(d.scale_s, 0.3f);
}

TEST_F(AiterAdapter, LeavesUnusedSlotsEmpty) {
  const attn_aiter_desc& d = RunAndRecord("f16 b1 h2/2 d64 q5 kv5");
  EXPECT_STREQ(d.data_type, "fp16");
  for (const void* slot : {d.bias_ptr, d.q_descale_ptr, d.k_descale_ptr, d.v_descale_ptr, d.seqstart_q_ptr,
                           d.seqstart_k_ptr, d.seqlen_q_ptr, d.seqlen_k_ptr, d.cu_seqlen_q_ptr, d.cu_seqlen_k_ptr,
                           d.sink_ptr, static_cast<const void*>(d.rand_val_ptr), static_cast<const void*>(d.lse_ptr)}) {
    EXPECT_EQ(slot, nullptr);
  }
  EXPECT_THAT(std::vector<int>({d.bias_type, d.has_lse, d.qscale_type, d.has_sink, d.is_group_mode, d.v3_api_check}),
              ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_EQ(d.how_v3_bf16_cvt, 0) << "to nearest even";
  EXPECT_EQ(d.p_drop, 0);
  EXPECT_EQ(d.logits_soft_cap, 0);
}

TEST_F(AiterAdapter, MapsMasksToTypesAndWindows) {
  const attn_aiter_desc& none = RunAndRecord("bf16 b1 h1/1 d8 q5 kv7");
  EXPECT_THAT(std::vector<int>({none.mask_type, none.window_left, none.window_right}), ElementsAre(0, -1, -1));
  record_->calls = 0;
  const attn_aiter_desc& top_left = RunAndRecord("bf16 b1 h1/1 d8 q5 kv7 mask=causal_tl");
  EXPECT_THAT(std::vector<int>({top_left.mask_type, top_left.window_left, top_left.window_right}),
              ElementsAre(1, -1, 0));
  record_->calls = 0;
  const attn_aiter_desc& bottom_right = RunAndRecord("bf16 b1 h1/1 d8 q9 kv7 mask=causal lse");
  EXPECT_THAT(std::vector<int>({bottom_right.mask_type, bottom_right.window_left, bottom_right.window_right}),
              ElementsAre(2, -1, 0));
}

TEST_F(AiterAdapter, GivesKeyLengthsAsRunningSums) {
  AttentionCase attention({.problem = ParseAttentionProblem("bf16 b3 h2/2 d16 q4 kv20 mask=lens lse"), .seed = 3});
  RunAndRecord("bf16 b3 h2/2 d16 q4 kv20 mask=lens lse");
  const auto lengths = attention.NewIO().key_lengths;  // the same seed draws the same lengths
  EXPECT_THAT(record_->cu_seqlen_k,
              ElementsAre(0, lengths[0], lengths[0] + lengths[1], lengths[0] + lengths[1] + lengths[2]));
  EXPECT_EQ(record_->desc.is_group_mode, 0);
  EXPECT_EQ(record_->desc.seqlen_k_ptr, nullptr);
}

TEST_F(AiterAdapter, GivesPackedSequencesInGroupMode) {
  AttentionCase attention(
      {.problem = ParseAttentionProblem("f16 b1 h4/2 d16 q30 kv40 mask=causal+varlen lse"), .seed = 3});
  const attn_aiter_desc& d = RunAndRecord("f16 b1 h4/2 d16 q30 kv40 mask=causal+varlen lse");
  const AttentionIO io = attention.NewIO();
  EXPECT_EQ(d.is_group_mode, 1);
  EXPECT_EQ(d.batch, static_cast<int32_t>(io.cu_seqlens_q.size()) - 1);
  EXPECT_TRUE(std::equal(io.cu_seqlens_q.begin(), io.cu_seqlens_q.end(), record_->seqstart_q.begin()));
  EXPECT_TRUE(std::equal(io.cu_seqlens_k.begin(), io.cu_seqlens_k.end(), record_->seqstart_k.begin()));
  EXPECT_EQ(d.cu_seqlen_q_ptr, nullptr);
  EXPECT_EQ(d.batch_stride_q, 0);
  EXPECT_EQ(d.nhead_stride_lse, 30);
}

TEST_F(AiterAdapter, RefusesWhatTheLibraryWouldDoDifferently) {
  EXPECT_THAT(RefusalsOf("bf16 b2 h1/1 d16 q4 kv8 mask=causal+lens"),
              ElementsAre("bottom-right causal mask with key lengths"));
  EXPECT_THAT(RefusalsOf("bf16 b1 h64/64 d256 q200000 kv8"), ElementsAre("strides of more than 31 bits"));
  EXPECT_THAT(RefusalsOf("f32 b1 h1/1 d12 q4 kv8 mask=bias"), ElementsAre("dtype", "head dim", "bias or boolean mask"));
}

TEST_F(AiterAdapter, ComputesOnTheDeviceThatIsAskedFor) {
  Options options;
  options.Set("device", int64_t{3});
  RunAndRecord("bf16 b1 h1/1 d8 q5 kv7", options);
  EXPECT_EQ(StandInFunction<int()>(hip_, "standin_hip_device")(), 3);
}

TEST_F(AiterAdapter, ReportsAProblemWithoutKernel) {
  record_->answer = -1;
  EXPECT_EQ(RunOn(backend(), "bf16 b1 h1/1 d8 q5 kv7"), "failed: AITER has no kernel for this problem");
}

TEST_F(AiterAdapter, ReportsAFullDeviceAndFreesWhatItHas) {
  const auto allow = StandInFunction<void(int)>(hip_, "standin_hip_allow");
  allow(3);
  EXPECT_THAT([&] { RunOn(backend(), "bf16 b1 h1/1 d8 q5 kv7"); },
              ::testing::ThrowsMessage<std::runtime_error>(HasSubstr("no device memory")));
  allow(-1);
}

}  // namespace
}  // namespace tessera
