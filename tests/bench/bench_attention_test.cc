#include "cli/bench_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "attention/registry.h"
#include "media/picture.h"
#include "platform/cpu/cpu.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using testing::HasSubstr;

nlohmann::json Report(BenchAttentionOptions options) {
  options.runs = 1;
  options.format = BenchFormat::kJson;
  testing::internal::CaptureStdout();
  EXPECT_EQ(BenchAttention(options), 0);
  return nlohmann::json::parse(testing::internal::GetCapturedStdout());
}

TEST(BenchAttention, ReportsEveryProblemOnEveryBackend) {
  const auto objects =
      Report({.problems = {"f32 b1 h2/1 d32 q70 kv70 mask=causal", "bf16 b2 h2/2 d24 q20 kv50 mask=lens"},
              .backends = {"flash", "torch_sdpa"},
              .options = {}});
  ASSERT_EQ(objects.size(), 4u);
  EXPECT_EQ(objects[0]["backend"], "fa");
  EXPECT_EQ(objects[1]["backend"], "torch_sdpa");
  EXPECT_EQ(objects[3]["problem"], "bf16 b2 h2/2 d24 q20 kv50 mask=lens");
  for (const auto& object : objects) {
    EXPECT_GT(object["median_ms"].get<double>(), 0);
    EXPECT_GT(object["share_of_peak"].get<double>(), 0);
    EXPECT_GT(object["share_of_arithmetic_peak"].get<double>(), 0);
    EXPECT_EQ(object["isa"], Name(ActiveIsa()));
  }
}

// A kernel that sees other keys than the benchmark's own reference would be off by more than rounding.
TEST(BenchAttention, ChecksSampledRowsUnderEveryMask) {
  BenchAttentionOptions options{
      .problems = {"f32 b2 h4/2 d20 q90 kv130 mask=none", "f32 b2 h4/2 d20 q90 kv130 mask=causal",
                   "f32 b2 h4/2 d20 q90 kv130 mask=causal_tl", "f32 b2 h4/2 d20 q90 kv130 mask=lens",
                   "f32 b2 h4/2 d20 q90 kv130 mask=causal+lens", "f32 b1 h4/2 d20 q90 kv130 mask=varlen",
                   "f32 b1 h4/2 d20 q90 kv130 mask=causal+varlen", "f32 b2 h4/2 d20 q90 kv130 mask=bias"},
      .backends = {"torch_sdpa"},
      .options = {}};
  const auto exact = Report(options);
  options.problems.pop_back();
  options.backends = {"fa"};
  const auto flash = Report(options);
  for (const auto& objects : {exact, flash}) {
    for (const auto& object : objects) {
      EXPECT_LT(object["rel_l1"].get<double>(), 3e-6) << object["problem"];
      EXPECT_GT(object["rel_l1"].get<double>(), 1e-9) << object["problem"];
    }
  }
}

TEST(BenchAttention, NamesTheArithmeticOfTheBackend) {
  BenchAttentionOptions options{.problems = {"bf16 b1 h1/1 d32 q64 kv64 mask=none"}, .backends = {"fa"}, .options = {}};
  options.options.Set("arithmetic", std::string("f32"));
  EXPECT_EQ(Report(options)[0]["arithmetic"], "f32");
  if (MachineIsa() < Isa::kAvx512Bf16) GTEST_SKIP() << "no bf16 dot products on this machine";
  options.options.Set("arithmetic", std::string("bf16"));
  EXPECT_EQ(Report(options)[0]["arithmetic"], "bf16");
}

TEST(BenchAttention, RefusesWhatCannotRunBeforeAnythingRuns) {
  const auto error = [](const std::string& problem, const std::string& backend) {
    return ErrorOf([&] { BenchAttention({.problems = {problem}, .backends = {backend}, .options = {}}); });
  };
  EXPECT_THAT(error("f32 b1 h1/1 d32 q64 kv64 mask=none", "nosuch"), HasSubstr("nosuch"));
  EXPECT_THAT(error("f32 b1 h1/1 d32 q64 kv64 mask=bias", "fa"), HasSubstr("bias"));
  EXPECT_THAT(error("f32 b1 h1/1 d32 q64 kv64 mask=nosuch", "fa"), HasSubstr("mask=nosuch"));
  EXPECT_THAT(ErrorOf([] { BenchAttention({.problems = {}, .backends = {"fa"}, .options = {}}); }),
              HasSubstr("no problem"));
}

TEST(BenchAttention, AllMeasuresWhoCanServeAndSaysWhyOthersCannot) {
  const auto objects = Report({.problems = {"f32 b1 h1/1 d32 q20 kv20 mask=bias"}, .backends = {"all"}, .options = {}});
  ASSERT_EQ(objects.size(), AttentionRegistry::BuiltIn().backends().size());
  for (const auto& object : objects) {
    const bool serves = object["backend"] == "torch_sdpa";
    EXPECT_EQ(object.contains("median_ms"), serves) << object["backend"];
    EXPECT_EQ(object.contains("refused"), !serves) << object["backend"];
  }
}

TEST(BenchAttention, DrawsAPlot) {
  const TemporaryFolder folder;
  const std::string plot = (folder.path() / "plot.png").string();
  Report({.problems = {"f32 b1 h1/1 d32 q20 kv20"}, .backends = {"fa", "torch_sdpa"}, .options = {}, .plot = plot});
  EXPECT_GT(ReadPicture(plot).width, 600);
}

TEST(BenchAttention, RefusesBf16ArithmeticForOtherOperands) {
  const AttentionBackend& fa = AttentionRegistry::BuiltIn().Find("fa");
  Options options;
  options.Set("arithmetic", std::string("bf16"));
  const auto problem = ParseAttentionProblem("f32 b1 h1/1 d32 q64 kv64 mask=none");
  EXPECT_THAT(ErrorOf([&] { fa.plan(problem, CpuDevice(), options); }),
              HasSubstr("arithmetic=bf16 needs bf16 operands"));
}

}  // namespace
}  // namespace tessera
