// The backend's options reach the kernel, and its rules.
#include <gtest/gtest.h>

#include "attention/registry.h"
#include "attention/rules.h"
#include "base/error.h"
#include "kernels_nvfp4/nvfp4_call.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

const AttentionBackend& Sage3() { return AttentionRegistry::BuiltIn().Find("sage_attn_3"); }

std::vector<std::byte> BytesWith(AttentionCall* call, const Options& options) {
  call->problem.needs_lse = true;
  call->Run(*Sage3().plan(call->problem, CpuDevice(), ResolveOptions(Sage3(), options)));
  return call->out.bytes();
}

std::vector<std::byte> BytesOf(AttentionCall* call, const Nvfp4Options& options) {
  call->problem.needs_lse = true;
  const Device& device = CpuDevice();
  const bool dot = device.isa >= Isa::kAvx512Bf16 && device.bf16_dot_pays;
  const auto arithmetic = dot ? FlashArithmetic::kBf16Dot : FlashArithmetic::kF32;
  call->Run(*MakeNvfp4Plan(call->problem, device.isa, arithmetic, options));
  return call->out.bytes();
}

Options One(const std::string& key, OptionValue value) {
  Options options;
  options.Set(key, std::move(value));
  return options;
}

TEST(Nvfp4Backend, TakesItsOptions) {
  AttentionCall call = MakeSageCall("bf16 b1 h1/1 d64 q200 kv200 mask=none", Operands::kBiased);
  const auto plain = BytesOf(&call, {});
  EXPECT_EQ(BytesWith(&call, {}), plain);
  const auto expect = [&](const Options& given, const Nvfp4Options& wanted) {
    const auto bytes = BytesOf(&call, wanted);
    EXPECT_EQ(BytesWith(&call, given), bytes) << NameOf(wanted);
    EXPECT_NE(bytes, plain) << NameOf(wanted);
  };
  expect(One("per_block_mean", false), {.per_block_mean = false});
  expect(One("smooth_k", false), {.smooth_k = false});
  expect(One("sum_quantized", true), {.sum_quantized = true});
  expect(One("divide_rounded", true), {.divide_rounded = true});
}

TEST(Nvfp4Backend, RefusesOptionsItDoesNotHave) {
  EXPECT_THROW(ResolveOptions(Sage3(), One("pv", "fp8")), Error);
  EXPECT_THROW(ResolveOptions(Sage3(), One("per_block_mean", 128.0)), Error);
}

TEST(Nvfp4Backend, RefusesWhatItCannotCompute) {
  const auto refusals = [](const char* line) { return Refusals(Sage3(), ParseAttentionProblem(line), CpuDevice()); };
  EXPECT_TRUE(refusals("bf16 b1 h8/2 d128 q100 kv77 mask=causal+lens lse").empty());
  EXPECT_TRUE(refusals("f16 b1 h1/1 d72 q100 kv77 mask=causal_tl").empty());
  EXPECT_FALSE(refusals("bf16 b1 h1/1 d257 q100 kv100 mask=none").empty());
  EXPECT_FALSE(refusals("bf16 b1 h1/1 d64 q100 kv100 mask=bias").empty());
}

TEST(Nvfp4Backend, SaysThatItIsCoarserThanEightBits) {
  EXPECT_EQ(Sage3().caps.fidelity, Fidelity::kQuantized);
  EXPECT_EQ(Sage3().caps.quantized_bits, 4);
}

}  // namespace
}  // namespace tessera
