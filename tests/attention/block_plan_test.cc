#include "attention/block_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conformance/attention_case.h"

namespace tessera {
namespace {

// One head, queries 0..3 and 4..5, keys 0..1, 2..5 and 6..9; the second query block sees the last key block only.
BlockPlan SmallPlan() {
  BlockPlan plan;
  plan.q_blocks = 2;
  plan.kv_blocks = 3;
  plan.q.offsets = {0, 4, 6};
  plan.kv.offsets = {0, 2, 6, 10};
  plan.row_begin = {0, 2, 3};
  plan.kv_list = {0, 1, 2};
  return plan;
}

TEST(BlockPlan, DensityIsTheShareOfPairs) {
  BlockPlan plan = SmallPlan();
  EXPECT_DOUBLE_EQ(plan.Density(), (4.0 * 6 + 2 * 4) / 60);
  plan.query_masks = {0b0111, ~uint64_t{0}, 0b01};
  plan.mask_words = 1;
  EXPECT_DOUBLE_EQ(plan.Density(), (3.0 * 2 + 4 * 4 + 1 * 4) / 60);
}

TEST(BlockPlan, DrawnPlansAreFineAndTheirDensityIsThatOfTheirPairs) {
  std::mt19937_64 random(8);
  const AttentionProblem problem = ParseAttentionProblem("f32 b2 h3 d8 q150 kv90 role=cross");
  for (int i = 0; i < 40; ++i) {
    const auto kind = static_cast<PlanKind>(1 + i % 4);
    const uint64_t seed = random();
    std::mt19937_64 draw(seed);
    EXPECT_EQ(DrawBlockPlan(kind, problem, draw).Defect(6, 150, 90), "");
    AttentionCase attention({.problem = problem, .plan = kind, .seed = seed});
    int64_t visible = 0;
    for (int64_t pair = 0; pair < 2 * 3 * 150 * 90; ++pair) {
      visible += attention.Visible(pair / 90 / 150 / 3, pair / 90 / 150 % 3, pair / 90 % 150, pair % 90);
    }
    EXPECT_NEAR(attention.NewIO().blocks->Density(), static_cast<double>(visible) / (2 * 3 * 150 * 90), 1e-12);
  }
}

TEST(BlockPlan, NamesItsDefects) {
  const auto defect = [](auto change) {
    BlockPlan plan = SmallPlan();
    change(plan);
    return std::string(plan.Defect(1, 6, 10));
  };
  EXPECT_EQ(defect([](BlockPlan&) {}), "");
  EXPECT_EQ(defect([](BlockPlan& p) { p.kv.offsets.back() = 9; }), "offsets do not cover the sequence");
  EXPECT_EQ(defect([](BlockPlan& p) { p.kv.offsets[1] = 7; }), "offsets do not cover the sequence");
  EXPECT_EQ(defect([](BlockPlan& p) { p.q.offsets.pop_back(); }), "offsets have the wrong size");
  EXPECT_EQ(defect([](BlockPlan& p) { p.q.permutation = {0, 1, 2, 3, 4, 4}; }),
            "a permutation does not name every token once");
  EXPECT_EQ(defect([](BlockPlan& p) { p.q.permutation = {0, 1}; }), "a permutation has the wrong size");
  EXPECT_EQ(defect([](BlockPlan& p) { p.kv_list[1] = 3; }), "kv_list names a block that does not exist");
  EXPECT_EQ(defect([](BlockPlan& p) { p.kv_list[1] = 0; }), "kv_list of a row is not ascending");
  EXPECT_EQ(defect([](BlockPlan& p) { p.row_begin[1] = 5; }), "row_begin is not ascending");
  EXPECT_EQ(defect([](BlockPlan& p) { p.row_begin.pop_back(); }), "row_begin has the wrong size or ends");
  EXPECT_EQ(defect([](BlockPlan& p) { p.query_masks = {1, 1, 1}; }), "mask_words does not fit the largest q block");
}

}  // namespace
}  // namespace tessera
