#include "attention/problem.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/fake_backends.h"
#include "base/text.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

std::string ErrorFor(const std::string& line) {
  return ErrorOf([&] { ParseAttentionProblem(line); });
}

TEST(AttentionProblem, ParsesWhatItPrints) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const AttentionProblem problem = DrawProblem(random);
    ASSERT_EQ(ParseAttentionProblem(Print(problem)), problem) << Print(problem);
  }
}

TEST(AttentionProblem, PrintsTheDocumentedLine) {
  const AttentionProblem problem{.dtype = DType::kBF16,
                                 .batch = 1,
                                 .heads = 24,
                                 .kv_heads = 24,
                                 .head_dim = 128,
                                 .q_len = 1536,
                                 .kv_len = 1536,
                                 .needs_lse = true,
                                 .role = AttentionRole::kJoint,
                                 .grid = VideoGrid{1, 32, 32, 512, 0}};
  EXPECT_EQ(Print(problem), "bf16 b1 h24/24 d128 q1536 kv1536 mask=none lse role=joint grid=1x32x32+512");
}

TEST(AttentionProblem, PrintsSharedLinesAsTheyAreWritten) {
  std::ifstream file(TESSERA_SOURCE_FOLDER "/tests/inputs/attention.txt");
  int lines = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const AttentionProblem problem = ParseAttentionProblem(line);
    EXPECT_EQ(ParseAttentionProblem(Print(problem)), problem) << line;
    ++lines;
  }
  EXPECT_GE(lines, 25);
}

TEST(AttentionProblem, TakesWordsInAnyOrderAndSpacing) {
  EXPECT_EQ(ParseAttentionProblem("  kv7 q5   lse mask=lens+causal h6/2  d40 bfloat16"),
            ParseAttentionProblem("bf16 b1 h6/2 d40 q5 kv7 mask=causal+lens lse"));
}

TEST(AttentionProblem, TakesPrefixAndSuffixAsWords) {
  const auto problem = ParseAttentionProblem(
      "bf16 b1 h2/2 d32 q600 kv600 mask=key_lengths grid=4x12x12 prefix=0 suffix=24 step=1 layer=0");
  EXPECT_EQ(problem.mask, MaskFeatures{kMaskKeyLengths});
  EXPECT_EQ(problem.grid, (VideoGrid{4, 12, 12, 0, 24}));
  EXPECT_EQ(problem.step, 1);
  EXPECT_EQ(problem.layer, 0);
}

TEST(AttentionProblem, NamesEveryWrongWord) {
  const std::string good = "bf16 b1 h4/2 d64 q8 kv8 mask=none";
  for (const std::string word :
       {"bf17",    "b0",        "bx",       "h4/2/1",        "h0",       "h-4",           "d",
        "d0",      "q-1",       "qq",       "kv99999999999", "mask=",    "mask=diagonal", "mask=causal+",
        "scale=0", "scale=nan", "scale=-1", "role=king",     "grid=1x2", "grid=0x1x1",    "grid=1x1x1+1+1+1",
        "step=-1", "layer=x",   "hello",    "x=1",           "="}) {
    EXPECT_THAT(ErrorFor(good + " " + word), HasSubstr("'" + word + "'")) << word;
  }
}

TEST(AttentionProblem, SaysWhatIsMissing) {
  EXPECT_THAT(ErrorFor("b1 h4 d64 q8 kv8"), HasSubstr("lacks a dtype"));
  EXPECT_THAT(ErrorFor("f32 d64 q8 kv8"), HasSubstr("lacks heads"));
  EXPECT_THAT(ErrorFor("f32 h4 q8 kv8"), HasSubstr("lacks a head dim"));
  EXPECT_THAT(ErrorFor("f32 h4 d64 kv8"), HasSubstr("lacks a query length"));
  EXPECT_THAT(ErrorFor("f32 h4 d64 q8"), HasSubstr("lacks a key length"));
  EXPECT_THAT(ErrorFor("f32 h4 d64 q8 kv8 prefix=3"), HasSubstr("lacks a grid"));
  EXPECT_THAT(ErrorFor(""), HasSubstr("lacks"));
}

TEST(AttentionProblem, RefusesContradictions) {
  EXPECT_THAT(ErrorFor("f32 h4/3 d64 q8 kv8"), HasSubstr("kv heads do not divide heads"));
  EXPECT_THAT(ErrorFor("f32 h4 d64 q8 kv8 mask=causal+causal_tl"), HasSubstr("both causal"));
  EXPECT_THAT(ErrorFor("f32 b2 h4 d64 q8 kv8 mask=varlen"), HasSubstr("batch 1"));
  EXPECT_THAT(ErrorFor("f32 h4 d64 q8 kv8 mask=varlen+lens"), HasSubstr("lens"));
}

TEST(AttentionProblem, LimitsTheLengthOfALine) { EXPECT_THAT(ErrorFor(std::string(5000, 'x')), HasSubstr("5000")); }

TEST(AttentionProblem, CountsOperations) {
  EXPECT_DOUBLE_EQ(ParseAttentionProblem("f32 b2 h3 d8 q10 kv20").flops(), 4.0 * 2 * 3 * 8 * 10 * 20);
  EXPECT_DOUBLE_EQ(ParseAttentionProblem("f32 h1 d8 q10 kv10 mask=causal").flops(), 2.0 * 8 * 10 * 10);
  EXPECT_DOUBLE_EQ(ParseAttentionProblem("f32 h1 d8 q5 kv10 mask=causal").flops(), 4.0 * 8 * 5 * 10);
}

TEST(AttentionProblem, ScalesByTheRootOfTheHeadDimUnlessToldOtherwise) {
  EXPECT_FLOAT_EQ(ParseAttentionProblem("f32 h1 d64 q5 kv10").softmax_scale(), 0.125f);
  EXPECT_FLOAT_EQ(ParseAttentionProblem("f32 h1 d64 q5 kv10 scale=1").softmax_scale(), 1.0f);
}

}  // namespace
}  // namespace tessera
