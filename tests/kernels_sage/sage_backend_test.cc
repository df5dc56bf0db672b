// The backend's options reach the kernel, and its rules.
#include <gtest/gtest.h>

#include "attention/registry.h"
#include "attention/rules.h"
#include "base/error.h"
#include "kernels_sage/sage_call.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

const AttentionBackend& Sage() { return AttentionRegistry::BuiltIn().Find("sage"); }

std::vector<std::byte> BytesWith(AttentionCall* call, const Options& options) {
  call->problem.needs_lse = true;
  call->Run(*Sage().plan(call->problem, CpuDevice(), ResolveOptions(Sage(), options)));
  return call->out.bytes();
}

std::vector<std::byte> BytesOf(AttentionCall* call, const SageOptions& options) {
  RunSage(call, CpuDevice().isa, options);
  return call->out.bytes();
}

Options One(const std::string& key, OptionValue value) {
  Options options;
  options.Set(key, std::move(value));
  return options;
}

TEST(SageBackend, TakesItsOptions) {
  AttentionCall call = MakeSageCall("bf16 b1 h1/1 d64 q100 kv200 mask=none", Operands::kBiased);
  const auto plain = BytesOf(&call, {});
  EXPECT_EQ(BytesWith(&call, {}), plain);
  EXPECT_EQ(BytesWith(&call, One("pv", "fp16")), BytesOf(&call, {.values = SageValues::kFp16}));
  EXPECT_EQ(BytesWith(&call, One("pv", "fp8")), BytesOf(&call, {.values = SageValues::kFp8}));
  EXPECT_EQ(BytesWith(&call, One("pv", "fp8++")), BytesOf(&call, {.values = SageValues::kFp8Plus}));
  EXPECT_EQ(BytesWith(&call, One("smooth_k", false)), BytesOf(&call, {.smooth_k = false}));
  EXPECT_EQ(BytesWith(&call, One("smooth_v", true)), BytesOf(&call, {.smooth_v = true}));
  for (const auto& [word, granularity] :
       {std::pair{"per_thread", SageGranularity::kPerThread}, std::pair{"per_warp", SageGranularity::kPerWarp},
        std::pair{"per_block", SageGranularity::kPerBlock}}) {
    const auto bytes = BytesOf(&call, {.granularity = granularity});
    EXPECT_EQ(BytesWith(&call, One("qk_granularity", word)), bytes);
    EXPECT_NE(bytes, plain) << word;
  }
}

TEST(SageBackend, NamesTheArithmeticThatLimitsIt) {
  const AttentionProblem problem = ParseAttentionProblem("bf16 b1 h1/1 d64 q100 kv200 mask=none");
  const auto arithmetic = [&](Isa isa, SageValues values) {
    return MakeSagePlan(problem, isa, {.values = values})->arithmetic();
  };
  EXPECT_EQ(arithmetic(Isa::kAvx512Bf16, SageValues::kInt8), "int8");
  EXPECT_EQ(arithmetic(Isa::kAvx512Bf16, SageValues::kFp8), "f32");
  EXPECT_EQ(arithmetic(Isa::kAvx2, SageValues::kInt8), "f32");
}

TEST(SageBackend, RefusesOptionsItDoesNotHave) {
  EXPECT_THROW(ResolveOptions(Sage(), One("pv", "fp4")), Error);
  EXPECT_THROW(ResolveOptions(Sage(), One("smooth_q", true)), Error);
  EXPECT_THROW(ResolveOptions(Sage(), One("smooth_k", 3.0)), Error);
}

TEST(SageBackend, RefusesWhatItCannotCompute) {
  const auto refusals = [](const char* line) { return Refusals(Sage(), ParseAttentionProblem(line), CpuDevice()); };
  EXPECT_TRUE(refusals("bf16 b1 h8/2 d128 q100 kv77 mask=causal+lens lse").empty());
  EXPECT_FALSE(refusals("bf16 b1 h1/1 d257 q100 kv100 mask=none").empty());
  EXPECT_FALSE(refusals("bf16 b1 h1/1 d64 q100 kv100 mask=bias").empty());
  EXPECT_EQ(Sage().caps.fidelity, Fidelity::kQuantized);
}

}  // namespace
}  // namespace tessera
