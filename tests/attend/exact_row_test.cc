#include "attention/exact_row.h"

#include <gtest/gtest.h>

#include "conformance/attention_oracle.h"

namespace tessera {
namespace {

class ExactRows : public testing::TestWithParam<const char*> {};

TEST_P(ExactRows, EqualTheOracle) {
  const AttentionProblem problem = ParseAttentionProblem(GetParam());
  AttentionCase attention({.problem = problem, .bias = BiasKind::kBF16, .bias_shape = BiasShape::kPerKey, .seed = 11});
  const AttentionTruth truth = SolveInDoubles(attention);
  const AttentionIO io = attention.NewIO();
  ExactRowScratch scratch(problem);
  for (int64_t row = 0; row < problem.batch * problem.heads * problem.q_len; ++row) {
    const double lse = ExactRow(problem, io, RowAt(problem, row), scratch);
    const double expected = truth.lse[static_cast<size_t>(row)];
    if (lse != expected) {
      EXPECT_NEAR(lse, expected, 1e-9) << "row " << row;
    }
    for (int d = 0; d < problem.head_dim; ++d) {
      ASSERT_NEAR(scratch.out[static_cast<size_t>(d)], truth.out[static_cast<size_t>(row * problem.head_dim + d)], 1e-9)
          << "row " << row;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Masks, ExactRows,
                         testing::Values("f32 b2 h4/2 d20 q9 kv13 mask=none", "bf16 b1 h2/2 d17 q9 kv13 mask=causal",
                                         "f16 b2 h2/1 d8 q13 kv9 mask=causal", "f32 b2 h2/2 d24 q9 kv13 mask=causal_tl",
                                         "bf16 b3 h2/2 d16 q9 kv13 mask=lens", "f32 b1 h2/1 d16 q30 kv40 mask=varlen",
                                         "f32 b1 h2/1 d16 q30 kv40 mask=causal+varlen",
                                         "f32 b2 h2/2 d16 q9 kv13 mask=bias scale=0.7"));

TEST(ExactRow, HiddenBlocksAreAsIfTheirKeysWereNotThere) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d8 q4 kv6");
  AttentionCase attention({.problem = problem, .seed = 5});
  const AttentionIO io = attention.NewIO();
  AttentionProblem fewer = problem;
  fewer.kv_len = 3;
  ExactRowScratch all(problem), part(fewer);
  const int32_t block_of_key[] = {1, 1, 1, 0, 2, 2};
  const uint8_t visible[] = {0, 1, 0};
  const double lse = ExactRow(problem, io, {0, 0, 2}, all, {block_of_key, visible});
  EXPECT_DOUBLE_EQ(lse, ExactRow(fewer, io, {0, 0, 2}, part));
  EXPECT_EQ(all.out, part.out);
}

}  // namespace
}  // namespace tessera
