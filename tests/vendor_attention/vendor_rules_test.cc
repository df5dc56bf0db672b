// What vendors' attention takes and refuses, and that it computes what flash attention does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/registry.h"
#include "attention/rules.h"
#include "flash/attention_call.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string_view> Reasons(const char* backend, const std::string& line) {
  return Refusals(AttentionRegistry::BuiltIn().Find(backend), ParseAttentionProblem(line), CpuDevice());
}

void ExpectAccurate(const char* name, const std::string& line) {
  AttentionCall call(line);
  call.problem.needs_lse = true;
  const AttentionBackend& backend = AttentionRegistry::BuiltIn().Find(name);
  ASSERT_THAT(Refusals(backend, call.problem, CpuDevice()), IsEmpty()) << name << " " << line;
  if ((call.problem.mask & kMaskVarlen) != 0) call.cu_seqlens_q = {0, 40, 90}, call.cu_seqlens_k = {0, 40, 90};
  call.Run(*backend.plan(call.problem, CpuDevice(), ResolveOptions(backend, {})));
  const Visibility masks = VisibilityOf(call);
  const bool packed = (call.problem.mask & kMaskVarlen) != 0;
  const Errors errors = call.Compare(call.Solve([&](int64_t batch, int head, int64_t query, int64_t key) {
    return packed ? (query < 40) == (key < 40) : masks(batch, head, query, key);
  }));
  EXPECT_LE(errors.relative, 0.006) << name << " " << line;
  EXPECT_LE(errors.lse, 2e-3) << name << " " << line;
}

TEST(Aiter, TakesSixteenBitOperandsOfWholeEights) {
  EXPECT_THAT(Reasons("aiter", "bf16 b2 h8/2 d128 q100 kv77 mask=causal+lens lse"), IsEmpty());
  EXPECT_THAT(Reasons("aiter", "f16 b1 h8/8 d256 q100 kv100 mask=causal+varlen"), IsEmpty());
  EXPECT_THAT(Reasons("aiter", "f32 b1 h8/8 d128 q100 kv100 mask=none"), ElementsAre("dtype"));
  EXPECT_THAT(Reasons("aiter", "bf16 b1 h8/8 d100 q100 kv100 mask=none"), ElementsAre("head dim"));
  EXPECT_THAT(Reasons("aiter", "bf16 b1 h8/8 d264 q100 kv100 mask=none"), ElementsAre("head dim"));
  EXPECT_THAT(Reasons("aiter", "bf16 b1 h8/8 d64 q100 kv100 mask=bias"), ElementsAre("bias or boolean mask"));
}

TEST(Fia, TakesWhatFusedInferenceDoes) {
  EXPECT_THAT(Reasons("fia", "bf16 b1 h8/2 d72 q100 kv77 mask=causal lse"), IsEmpty());
  EXPECT_THAT(Reasons("fia", "f16 b1 h1/1 d512 q100 kv100 mask=lens lse"), IsEmpty());
  EXPECT_THAT(Reasons("fia", "bf16 b1 h256/4 d64 q10 kv10 mask=none"), IsEmpty());
  EXPECT_THAT(Reasons("fia", "f32 b1 h8/8 d128 q100 kv100 mask=none"), ElementsAre("dtype"));
  EXPECT_THAT(Reasons("fia", "bf16 b1 h8/8 d513 q100 kv100 mask=none"), ElementsAre("head dim"));
  EXPECT_THAT(Reasons("fia", "bf16 b1 h257/257 d64 q10 kv10 mask=none"), ElementsAre("more than 256 heads"));
  EXPECT_THAT(Reasons("fia", "bf16 b1 h130/2 d64 q10 kv10 mask=none"),
              ElementsAre("more than 64 query heads share a kv head"));
  EXPECT_THAT(Reasons("fia", "bf16 b65537 h1/1 d64 q1 kv1 mask=none"), ElementsAre("more than 65536 batch entries"));
}

TEST(Fia, PacksSequencesOfBf16AndHeadDim128Only) {
  EXPECT_THAT(Reasons("fia", "bf16 b1 h8/2 d128 q100 kv100 mask=causal+varlen"), IsEmpty());
  EXPECT_THAT(Reasons("fia", "f16 b1 h8/8 d128 q100 kv100 mask=varlen"), ElementsAre("packed sequences need bf16"));
  EXPECT_THAT(Reasons("fia", "bf16 b1 h8/8 d64 q100 kv100 mask=varlen"),
              ElementsAre("packed sequences need head dim 128"));
  EXPECT_THAT(Reasons("fia", "bf16 b1 h8/8 d128 q100 kv100 mask=causal_tl+varlen"),
              ElementsAre("packed sequences have bottom-right causal masks only"));
  EXPECT_THAT(Reasons("fia", "bf16 b1 h1/1 d128 q1048577 kv1 mask=varlen"),
              ElementsAre("more than 1048576 packed tokens"));
}

TEST(VendorFlash, ComputesAttention) {
  for (const char* name : {"aiter", "fia"}) {
    for (const char* line : {"bf16 b2 h4/2 d72 q100 kv130 mask=none", "f16 b1 h2/2 d256 q70 kv70 mask=causal",
                             "bf16 b1 h3/1 d64 q40 kv90 mask=causal scale=0.3",
                             "bf16 b1 h2/2 d128 q90 kv90 mask=varlen", "f16 b1 h2/2 d64 q90 kv50 mask=causal_tl"}) {
      ExpectAccurate(name, line);
    }
  }
  ExpectAccurate("fia", "bf16 b1 h2/2 d512 q70 kv150 mask=none");
  ExpectAccurate("fia", "f16 b1 h1/1 d300 q70 kv150 mask=causal");
}

// A head dim that has to be widened keeps the scale of its own width.
TEST(VendorFlash, IsFlashAttentionByteForByte) {
  for (const char* name : {"aiter", "fia"}) {
    AttentionCall call("bf16 b1 h2/2 d72 q100 kv130 mask=none");
    call.problem.needs_lse = true;
    const auto bytes = [&call](const char* backend_name) {
      const AttentionBackend& backend = AttentionRegistry::BuiltIn().Find(backend_name);
      call.Run(*backend.plan(call.problem, CpuDevice(), ResolveOptions(backend, {})));
      return call.out.bytes();
    };
    const auto vendor = bytes(name);
    EXPECT_EQ(vendor, bytes("fa")) << name;
  }
}

}  // namespace
}  // namespace tessera
