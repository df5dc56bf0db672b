#include "parallel/parallel_for.h"

#include <atomic>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

namespace tessera {
namespace {

// Every test leaves all cores in use.
class ParallelLoops : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { SetThreads(GetParam()); }
  void TearDown() override { SetThreads(0); }
};

TEST_P(ParallelLoops, ThreadsAreThoseAskedFor) { EXPECT_EQ(Threads(), GetParam()); }

TEST_P(ParallelLoops, PartsCoverTheRangeOnce) {
  for (int64_t count : {0, 1, 2, 7, 64, 1000}) {
    std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
    ParallelFor(count, 3, [&](int64_t begin, int64_t end) {
      EXPECT_LT(begin, end);
      for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
    });
    for (const std::atomic<int>& visit : visits) EXPECT_EQ(visit, 1) << count;
  }
}

TEST_P(ParallelLoops, PartsAreAtLeastAGrainLong) {
  std::atomic<int> parts = 0;
  ParallelFor(100, 40, [&](int64_t begin, int64_t end) {
    EXPECT_GE(end - begin, 40);
    ++parts;
  });
  EXPECT_LE(parts, 2);
  ParallelFor(5, 40, [&](int64_t begin, int64_t end) { EXPECT_EQ(end - begin, 5); });
}

TEST_P(ParallelLoops, ItemsAreHandedOutOnceToNumberedThreads) {
  std::vector<std::atomic<int>> visits(333);
  ParallelItems(333, [&](int64_t item, int thread) {
    EXPECT_GE(thread, 0);
    EXPECT_LT(thread, Threads());
    ++visits[static_cast<size_t>(item)];
  });
  for (const std::atomic<int>& visit : visits) EXPECT_EQ(visit, 1);
  ParallelItems(0, [](int64_t, int) { FAIL() << "no items, no calls"; });
}

TEST_P(ParallelLoops, LoopsInsideALoopRunOnItsThread) {
  std::vector<std::atomic<int>> visits(40);
  ParallelItems(4, [&](int64_t item, int) {
    ParallelFor(10, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(item * 10 + i)];
    });
  });
  for (const std::atomic<int>& visit : visits) EXPECT_EQ(visit, 1);
}

TEST(SetThreads, ZeroMeansAllCores) {
  SetThreads(0);
  EXPECT_GE(Threads(), 1);
}

INSTANTIATE_TEST_SUITE_P(Threads, ParallelLoops, ::testing::Values(1, 2, 3, 8));

}  // namespace
}  // namespace tessera
