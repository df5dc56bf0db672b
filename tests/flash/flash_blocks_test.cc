// Flash attention over a planner's block lists: ragged blocks, permutations and query masks.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "flash/attention_call.h"
#include "flash/random_block_plan.h"

namespace tessera {
namespace {

void ExpectPlan(const std::string& line, PlanKind kind, int32_t q_step, bool query_masks) {
  AttentionCall call(line);
  if ((call.problem.mask & kMaskKeyLengths) != 0) call.key_lengths = {150, 77};
  const BlockPlan plan = RandomPlan(call.problem, kind, q_step, query_masks);
  call.blocks = &plan;
  call.ExpectRight(VisibilityOf(call, plan));
}

class FlashBlocks : public testing::TestWithParam<const char*> {
 protected:
  std::string Line(const std::string& mask) const {
    return fmt::format("{} b2 h4/2 d40 q260 kv390 mask={}", GetParam(), mask);
  }
};

TEST_P(FlashBlocks, WalksAlignedLists) {
  ExpectPlan(Line("none"), PlanKind::kAligned, 64, false);
  ExpectPlan(Line("none"), PlanKind::kAligned, 128, false);
  ExpectPlan(Line("causal"), PlanKind::kAligned, 128, false);
}
TEST_P(FlashBlocks, WalksRaggedBlocks) {
  ExpectPlan(Line("none"), PlanKind::kRagged, 30, false);
  ExpectPlan(Line("lens"), PlanKind::kRagged, 100, false);
}
TEST_P(FlashBlocks, GathersAndScattersPermutedTokens) {
  ExpectPlan(Line("none"), PlanKind::kPermuted, 64, false);
  ExpectPlan(Line("lens"), PlanKind::kPermuted, 64, false);
}
TEST_P(FlashBlocks, GivesEveryHeadItsOwnBlocks) { ExpectPlan(Line("none"), PlanKind::kPerHead, 50, false); }
TEST_P(FlashBlocks, HonoursMasksOfSingleQueries) {
  ExpectPlan(Line("none"), PlanKind::kAligned, 64, true);
  ExpectPlan(Line("none"), PlanKind::kPerHead, 100, true);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, FlashBlocks, testing::Values("f32", "bf16", "f16"));

}  // namespace
}  // namespace tessera
