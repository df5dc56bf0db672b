#include "attention/plan_masks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

using testing::ElementsAre;

template <class T>
std::vector<T> ValuesOf(const Tensor& tensor) {
  return {tensor.data<T>(), tensor.data<T>() + tensor.numel()};
}

// Two query blocks, three key blocks of which one is empty; keys in reversed order.
BlockPlan SmallPlan() {
  BlockPlan plan;
  plan.q_blocks = 2;
  plan.kv_blocks = 3;
  plan.q = {{0, 1, 3}, {}};
  plan.kv = {{0, 2, 2, 4}, {3, 2, 1, 0}};
  plan.row_begin = {0, 1, 3};
  plan.kv_list = {2, 0, 1};
  return plan;
}

const AttentionProblem kProblem = ParseAttentionProblem("f32 b1 h1/1 d8 q3 kv4");

TEST(PlanMasks, ShowVisitedBlocksAndTheBlockOfEveryToken) {
  const BlockPlan plan = SmallPlan();
  const PlanMasks masks = MasksOf(&plan, kProblem);
  EXPECT_EQ(masks.block_mask.shape(), (Shape{1, 1, 2, 3}));
  EXPECT_THAT(ValuesOf<uint8_t>(masks.block_mask), ElementsAre(0, 0, 1, 1, 1, 0));
  EXPECT_THAT(ValuesOf<int32_t>(masks.q_block_of_token), ElementsAre(0, 1, 1));
  EXPECT_THAT(ValuesOf<int32_t>(masks.kv_block_of_token), ElementsAre(2, 2, 0, 0));
}

TEST(PlanMasks, TokensSeeTheTokensOfVisitedBlocks) {
  const BlockPlan plan = SmallPlan();
  const Tensor mask = TokenMask(MasksOf(&plan, kProblem), kProblem, {});
  EXPECT_THAT(ValuesOf<uint8_t>(mask), ElementsAre(1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1));
}

TEST(PlanMasks, HeadsMayHaveBlocksOfTheirOwn) {
  AttentionProblem problem = kProblem;
  problem.heads = problem.kv_heads = 2;
  BlockPlan plan;
  plan.per_head = true;
  plan.q_blocks = plan.kv_blocks = 2;
  plan.q = {{0, 1, 3, 0, 3, 3}, {0, 1, 2, 2, 1, 0}};
  plan.kv = {{0, 4, 4, 0, 1, 4}, {}};
  plan.row_begin = {0, 1, 1, 2, 2};
  plan.kv_list = {0, 1};
  const PlanMasks masks = MasksOf(&plan, problem);
  EXPECT_THAT(ValuesOf<int32_t>(masks.q_block_of_token), ElementsAre(0, 1, 1, 0, 0, 0));
  EXPECT_THAT(ValuesOf<int32_t>(masks.kv_block_of_token), ElementsAre(0, 0, 0, 0, 0, 1, 1, 1));
  EXPECT_THAT(ValuesOf<uint8_t>(masks.block_mask), ElementsAre(1, 0, 0, 0, 0, 1, 0, 0));
  EXPECT_THAT(ValuesOf<uint8_t>(TokenMask(masks, problem, {})), ElementsAre(1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0,  //
                                                                            0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1));
}

TEST(PlanMasks, QueryMasksMakeEveryQueryARow) {
  BlockPlan plan = SmallPlan();
  plan.mask_words = 1;
  plan.query_masks = {1, 2, 1};  // of the second block: its second query sees block 0, its first one block 1
  const PlanMasks masks = MasksOf(&plan, kProblem);
  EXPECT_THAT(ValuesOf<uint8_t>(masks.block_mask), ElementsAre(0, 0, 1, 0, 1, 0, 1, 0, 0));
  EXPECT_THAT(ValuesOf<int32_t>(masks.q_block_of_token), ElementsAre(0, 1, 2));
}

TEST(PlanMasks, NoPlanIsOneBlock) {
  const PlanMasks masks = MasksOf(nullptr, kProblem);
  EXPECT_THAT(ValuesOf<uint8_t>(masks.block_mask), ElementsAre(1));
  AttentionProblem causal = kProblem;
  causal.mask = kMaskCausalTopLeft;
  EXPECT_THAT(ValuesOf<uint8_t>(TokenMask(masks, causal, {})), ElementsAre(1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0));
}

}  // namespace
}  // namespace tessera
