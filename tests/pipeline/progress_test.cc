#include "pipeline/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The lines of a stage whose units take `seconds` each.
std::vector<std::string> LinesOf(const ProgressStage& stage, double seconds) {
  ProgressLog log(0);
  std::vector<std::string> lines = {log.Begin(stage, 0)};
  double now = 0;
  for (int64_t done = stage.done; done < stage.total; ++done) lines.push_back(log.Advance(now += seconds));
  lines.push_back(log.Finish(now));
  std::erase(lines, "");
  return lines;
}

TEST(ProgressLog, SaysNothingOfShortStages) {
  EXPECT_THAT(LinesOf({"denoising", "step", 4}, 2.4), IsEmpty());
  EXPECT_THAT(LinesOf({"decoding", "frame", 81}, 0.1), IsEmpty());
}

TEST(ProgressLog, SaysEverySlowStepWithItsPaceAndTheTimeLeft) {
  EXPECT_THAT(
      LinesOf({"denoising", "step", 3}, 1200),
      ElementsAre("denoising: step 1 of 3, 20 min 0 s a step, 40 min 0 s left",
                  "denoising: step 2 of 3, 20 min 0 s a step, 20 min 0 s left", "denoising: 3 steps in 1 h 0 min"));
}

TEST(ProgressLog, SaysTenthsOfQuickUnits) {
  const auto lines = LinesOf({"decoding", "frame", 100}, 1.5);
  ASSERT_EQ(lines.size(), 10u);
  EXPECT_EQ(lines[0], "decoding: frame 10 of 100, 1.5 s a frame, 2 min 15 s left");
  EXPECT_EQ(lines[8], "decoding: frame 90 of 100, 1.5 s a frame, 15.0 s left");
  EXPECT_EQ(lines[9], "decoding: 100 frames in 2 min 30 s");
}

TEST(ProgressLog, KeepsTenSecondsBetweenLinesAndAtMostAMinute) {
  EXPECT_EQ(LinesOf({"denoising", "step", 10}, 4).front(), "denoising: step 3 of 10, 4.0 s a step, 28.0 s left");
  const auto slow = LinesOf({"denoising", "step", 10000}, 7);
  EXPECT_EQ(slow.front(), "denoising: step 9 of 10000, 7.0 s a step, 19 h 25 min left");  // no tenth is done
}

TEST(ProgressLog, CountsTheTimeOfThisRunOnly) {
  EXPECT_EQ(LinesOf({"denoising", "step", 50, 40}, 100).front(),
            "denoising: step 41 of 50, 1 min 40 s a step, 15 min 0 s left");
}

TEST(ProgressLog, NamesAStageThatBeginsAfterASilence) {
  ProgressLog log(0);
  EXPECT_EQ(log.Begin({"text encoding", "prompt", 1}, 3), "");
  EXPECT_EQ(log.Finish(12.5), "");
  EXPECT_EQ(log.Begin({"denoising", "step", 50}, 12.5), "denoising: 50 steps");
  EXPECT_EQ(log.Begin({"denoising", "step", 50, 7}, 30), "denoising: 50 steps, 7 done before");
}

TEST(ProgressBar, ShowsShareCountAndPace) {
  EXPECT_EQ(ProgressBar({"denoising", "step", 4}, 0, 0), "denoising        [........................] 0/4");
  EXPECT_EQ(ProgressBar({"denoising", "step", 4, 3}, 1, 5),
            "denoising        [##################......] 3/4  2.5 s a step, 2.5 s left");
}

}  // namespace
}  // namespace tessera
