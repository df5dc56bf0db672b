// What the adapter of Ascend's fused attention hands to the operator, in every version, and what it makes of the
// answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/rules.h"
#include "platform/cpu/cpu.h"
#include "plugin/vendor_run.h"
#include "plugin/vendors/ascend.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Options WithVersion(const std::string& version) {
  Options options;
  options.Set("operator", version);
  return options;
}

class FiaAdapter : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    runtime_ = OpenStandIn("libascendcl.so");
    descriptors_ = OpenStandIn("libnnopbase.so");
    record_ = StandInFunction<FiaRecord*()>(OpenStandIn("libopapi.so"), "standin_fia_record")();
  }
  FiaAdapter() { *record_ = {}; }
  ~FiaAdapter() override {
    record_->answer = 0;
    EXPECT_EQ(StandInFunction<int()>(runtime_, "standin_ascend_live")(), 0) << "memory or a stream is lost";
    EXPECT_EQ(StandInFunction<int()>(descriptors_, "standin_descriptors_live")(), 0) << "a descriptor is lost";
  }

  const AttentionBackend& backend() const { return *adapter_->backends()[0]; }
  const FiaRecord& RunAndRecord(const std::string& line, const Options& options = {}) {
    EXPECT_EQ(RunOn(backend(), line, options), "") << line;
    return *record_;
  }
  std::vector<std::string_view> RefusalsOf(const std::string& line) const {
    return Refusals(backend(), ParseAttentionProblem(line), CpuDevice());
  }

  static inline void *runtime_ = nullptr, *descriptors_ = nullptr;
  static inline FiaRecord* record_ = nullptr;
  const std::shared_ptr<const AttentionPlugin> adapter_ = LoadAdapter("tessera_fia.so");
};

class FiaVersions : public FiaAdapter, public ::testing::WithParamInterface<int> {};

TEST_P(FiaVersions, HasEveryArgumentInItsSlot) {
  const FiaRecord& r =
      RunAndRecord("f16 b2 h6/3 d72 q7 kv9 scale=0.3 mask=causal lse", WithVersion("v" + std::to_string(GetParam())));
  EXPECT_EQ(r.version, GetParam());
  EXPECT_EQ(r.layout, "BSND");
  EXPECT_THAT(r.query.dims, ElementsAre(2, 7, 6, 80)) << "head dims are padded to whole sixteens";
  EXPECT_THAT(r.key.dims, ElementsAre(2, 9, 3, 80));
  EXPECT_THAT(r.value.dims, ElementsAre(2, 9, 3, 80));
  EXPECT_THAT(r.query.strides, ElementsAre(7 * 6 * 80, 6 * 80, 80, 1));
  EXPECT_THAT(r.out.dims, ElementsAre(2, 7, 6, 80));
  EXPECT_THAT(r.lse.dims, ElementsAre(2, 6, 7, 1));
  EXPECT_THAT(r.mask.dims, ElementsAre(2048, 2048));
  EXPECT_THAT(std::vector<int>({r.query.type, r.lse.type, r.mask.type, r.query.format}), ElementsAre(1, 0, 12, 2));
  EXPECT_FLOAT_EQ(static_cast<float>(r.scale), 0.3f);
  EXPECT_THAT(std::vector<int64_t>({r.heads, r.kv_heads, r.sparse_mode, r.pre_tokens, r.next_tokens}),
              ElementsAre(6, 3, 3, 2147483647, 2147483647));
  EXPECT_EQ(r.slots_in_use, 0);
  EXPECT_EQ(r.modes, 0);
  EXPECT_TRUE(r.lse_flag);
  EXPECT_EQ(r.runs, 1);
}

INSTANTIATE_TEST_SUITE_P(Versions, FiaVersions, ::testing::Values(1, 2, 3, 4));

TEST_F(FiaAdapter, KeepsTheScaleOfTheUnpaddedHeadDim) {
  EXPECT_FLOAT_EQ(static_cast<float>(RunAndRecord("bf16 b1 h1/1 d72 q5 kv5").scale), 1 / std::sqrt(72.0f));
}

TEST_F(FiaAdapter, LeavesUnusedSlotsEmpty) {
  const FiaRecord& r = RunAndRecord("bf16 b1 h2/2 d64 q5 kv6");
  EXPECT_EQ(r.version, 3) << "preferred";
  EXPECT_EQ(r.query.type, 27);
  EXPECT_EQ(r.mask.type, -1);
  EXPECT_EQ(r.lse.type, -1);
  EXPECT_FALSE(r.lse_flag);
  EXPECT_EQ(r.kv_heads, 0) << "as many as heads";
  EXPECT_EQ(r.sparse_mode, 0);
  EXPECT_EQ(r.inner_precise, 0);
  EXPECT_THAT(r.lengths_q, IsEmpty());
  EXPECT_THAT(r.lengths_kv, IsEmpty());
}

TEST_F(FiaAdapter, ATopLeftMaskIsModeTwo) {
  EXPECT_EQ(RunAndRecord("bf16 b1 h2/2 d64 q5 kv6 mask=causal_tl").sparse_mode, 2);
}

TEST_F(FiaAdapter, ASingleQueryNeedsNoMask) {
  const FiaRecord& r = RunAndRecord("bf16 b1 h2/2 d64 q1 kv6 mask=causal");
  EXPECT_EQ(r.sparse_mode, 0);
  EXPECT_EQ(r.mask.type, -1);
}

TEST_F(FiaAdapter, QueriesWithoutKeysAreSaidBeforeAndClearedAfter) {
  EXPECT_EQ(RunAndRecord("bf16 b1 h2/2 d64 q9 kv4 mask=causal lse").inner_precise, 2);
}

TEST_F(FiaAdapter, GivesKeyLengthsPerBatchEntry) {
  AttentionCase attention({.problem = ParseAttentionProblem("bf16 b3 h2/1 d16 q4 kv20 mask=lens lse"), .seed = 3});
  const FiaRecord& r = RunAndRecord("bf16 b3 h2/1 d16 q4 kv20 mask=lens lse");
  const auto lengths = attention.NewIO().key_lengths;  // the same seed draws the same lengths
  EXPECT_THAT(r.lengths_kv, ElementsAreArray(std::vector<int64_t>(lengths.begin(), lengths.end())));
  EXPECT_THAT(r.lengths_q, IsEmpty());
  EXPECT_EQ(r.inner_precise, 2);
}

TEST_F(FiaAdapter, GivesPackedSequencesByTheirEnds) {
  const std::string line = "bf16 b1 h4/2 d128 q30 kv40 mask=causal+varlen lse";
  AttentionCase attention({.problem = ParseAttentionProblem(line), .seed = 3});
  const FiaRecord& r = RunAndRecord(line);
  const AttentionIO io = attention.NewIO();
  EXPECT_EQ(r.layout, "TND");
  EXPECT_THAT(r.query.dims, ElementsAre(30, 4, 128));
  EXPECT_THAT(r.key.dims, ElementsAre(40, 2, 128));
  EXPECT_THAT(r.lse.dims, ElementsAre(30, 4, 1));
  EXPECT_EQ(r.sparse_mode, 3);
  EXPECT_THAT(r.lengths_q, ElementsAreArray(std::vector<int64_t>(io.cu_seqlens_q.begin() + 1, io.cu_seqlens_q.end())));
  EXPECT_THAT(r.lengths_kv, ElementsAreArray(std::vector<int64_t>(io.cu_seqlens_k.begin() + 1, io.cu_seqlens_k.end())));
}

TEST_F(FiaAdapter, RefusesWhatTheOperatorCannot) {
  EXPECT_THAT(RefusalsOf("bf16 b1 h257/257 d16 q4 kv8"), ElementsAre("more than 256 heads"));
  EXPECT_THAT(RefusalsOf("bf16 b1 h130/2 d16 q4 kv8"), ElementsAre("more than 64 query heads share a kv head"));
  EXPECT_THAT(RefusalsOf("f16 b1 h2/2 d128 q4 kv8 mask=varlen"), ElementsAre("packed sequences need bf16"));
  EXPECT_THAT(RefusalsOf("bf16 b1 h2/2 d64 q4 kv8 mask=varlen"), ElementsAre("packed sequences need head dim 128"));
  EXPECT_THAT(RefusalsOf("bf16 b2 h2/2 d64 q4 kv8 mask=causal+lens"),
              ElementsAre("bottom-right causal mask with key lengths"));
  EXPECT_THAT(RefusalsOf("bf16 b1 h2/2 d64 q1 kv8 mask=causal_tl"),
              ElementsAre("top-left causal mask of a single query"));
  EXPECT_THAT(RefusalsOf("bf16 b1 h2/2 d528 q4 kv8"), ElementsAre("head dim"));
}

TEST_F(FiaAdapter, ReportsTheOperatorsStatusWithItsWords) {
  record_->answer = 161002;
  EXPECT_THAT(RunOn(backend(), "bf16 b1 h1/1 d16 q4 kv8"),
              "failed: FusedInferAttentionScore: status 161002 EZ9999: a made-up reason");
}

}  // namespace
}  // namespace tessera
