#include "cli/bench_layers.h"

#include "base/error.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

TEST(BenchLayersTest, LinearProblemsPrintAsTheyAreParsed) {
  for (const char* line : {"1536x3072x9216 bf16", "1x2x3 f32"}) EXPECT_EQ(Print(ParseLinearProblem(line)), line);
  EXPECT_EQ(Print(ParseLinearProblem("16x32x64")), "16x32x64 bf16");
}

TEST(BenchLayersTest, ConvolutionProblemsPrintAsTheyAreParsed) {
  for (const char* line : {"128x128x512 512 k3 s1 f32", "64x32x16 8 k1 s2 bf16"}) {
    EXPECT_EQ(Print(ParseConvolutionProblem(line)), line);
  }
  EXPECT_EQ(Print(ParseConvolutionProblem("8x9x10 11")), "8x9x10 11 k3 s1 f32");
}

TEST(BenchLayersTest, RefusesLinesThatAreNoProblems) {
  for (const char* line : {"", "16", "16x32", "0x2x3", "axbxc", "1x2x3 f16", "1x2x3 f32 f32", "99999999999x1x1"}) {
    EXPECT_THROW(ParseLinearProblem(line), Error) << line;
  }
  for (const char* line : {"", "8x8x8", "8x8x8 8 k", "8x8x8 8 s0", "8x8x8 8 q3", "8x8x8 -8"}) {
    EXPECT_THROW(ParseConvolutionProblem(line), Error) << line;
  }
}

TEST(BenchLayersTest, MeasuresSmallProblems) {
  EXPECT_EQ(BenchLinear({{"8x32x48 bf16"}, 1, BenchFormat::kJson}), 0);
  EXPECT_EQ(BenchConvolution({{"8x8x16 16 f32", "8x8x16 16 s2 bf16"}, 1, BenchFormat::kText}), 0);
  EXPECT_THROW(BenchLinear({{}, 0, BenchFormat::kText}), Error);
}

}  // namespace
}  // namespace tessera
