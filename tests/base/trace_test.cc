#include "base/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "attention/allocation_count.h"

namespace tessera {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Le;

TraceLabel Block(int64_t index = -1) { return {.kind = TraceKind::kBlock, .name = "block", .index = index}; }
TraceLabel Product() {
  return {.kind = TraceKind::kLinear, .name = "to_q", .place = "here", .sizes = {2, 3, 4}, .flops = 48};
}

TEST(Trace, SpansNestAsTheirScopesDo) {
  TraceRecorder recorder;
  {
    const TraceScope outer(&recorder, Block(7));
    { TraceScope(&recorder, Product()).SetDensity(0.5); }
    const TraceScope second(&recorder, Product());
  }
  const auto events = recorder.events();
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].index, 7);
  EXPECT_STREQ(events[1].name, "to_q");
  EXPECT_STREQ(events[1].place, "here");
  EXPECT_THAT(std::vector(events[1].sizes, events[1].sizes + 3), ElementsAre(2, 3, 4));
  EXPECT_EQ(events[1].density, 0.5F);
  EXPECT_EQ(events[2].density, 1.0F);
  EXPECT_LE(events[0].begin_ns, events[1].begin_ns);
  EXPECT_LE(events[1].begin_ns, events[1].end_ns);
  EXPECT_LE(events[1].end_ns, events[2].begin_ns);
  EXPECT_LE(events[2].end_ns, events[0].end_ns);
  EXPECT_EQ(recorder.dropped(), 0);
}

TEST(Trace, AFullRecorderKeepsRoomForOuterSpansAndCountsTheRest) {
  TraceRecorder recorder(16);
  for (int i = 0; i < 20; ++i) TraceScope(&recorder, Product());
  EXPECT_EQ(recorder.events().size(), 14U);
  EXPECT_EQ(recorder.dropped(), 6);
  for (int i = 0; i < 3; ++i) TraceScope(&recorder, Block(i));
  EXPECT_EQ(recorder.events().size(), 16U);
  EXPECT_EQ(recorder.events().back().index, 1);
  EXPECT_EQ(recorder.dropped(), 7);
}

TEST(Trace, LongTextsAreCut) {
  TraceRecorder recorder;
  const std::string text(300, 'x');
  { const TraceScope scope(&recorder, {.name = text, .place = text}); }
  EXPECT_EQ(recorder.events()[0].name, text.substr(0, 47));
  EXPECT_EQ(recorder.events()[0].place, text.substr(0, 31));
}

TEST(Trace, RecordingAllocatesNothing) {
  TraceRecorder recorder;
  const std::string name(40, 'n');
  for (TraceRecorder* to : {static_cast<TraceRecorder*>(nullptr), &recorder}) {
    const int64_t before = AllocationsOfThisThread();
    for (int i = 0; i < 5000; ++i) {
      TraceScope outer(to, Block(i));
      const TraceScope inner(to, {.kind = TraceKind::kLinear, .name = name});
      outer.SetDensity(0.25);
    }
    EXPECT_EQ(AllocationsOfThisThread() - before, 0);
  }
  EXPECT_EQ(recorder.events().size(), 10000U);
}

TEST(Trace, EveryThreadHasItsTrack) {
  TraceRecorder recorder(1 << 12);
  const auto record = [&] {
    for (int i = 0; i < 500; ++i) TraceScope(&recorder, Block(i));
  };
  record();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(record);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(recorder.threads(), 5U);
  std::vector<int64_t> next(recorder.threads(), 0);
  for (const TraceEvent& event : recorder.events()) {
    ASSERT_LT(event.thread, next.size());
    EXPECT_EQ(event.index, next[event.thread]++);
  }
  EXPECT_THAT(next, Each(500));
}

TEST(Trace, MemoryIsSampledOverTheWholeRun) {
  TraceRecorder recorder;
  {
    const TraceScope scope(&recorder, Block());
    while (recorder.NowNs() < 20'000'000) TraceScope(&recorder, Product());
  }
  const auto memory = recorder.memory();
  ASSERT_GE(memory.size(), 2U);
  EXPECT_THAT(memory.size(), Le(22U));
  EXPECT_GT(memory.front().bytes, size_t{1} << 20);
  EXPECT_GT(memory.back().at_ns - memory.front().at_ns, 10'000'000);
  for (size_t i = 1; i < memory.size(); ++i) EXPECT_GE(memory[i].at_ns - memory[i - 1].at_ns, 1'000'000);
}

TEST(Trace, EveryKindHasANameAndNamedSizes) {
  for (size_t i = 0; i < kTraceKinds; ++i) {
    const auto kind = static_cast<TraceKind>(i);
    EXPECT_FALSE(Name(kind).empty());
    EXPECT_LE(SizeNames(kind).size(), kTraceSizes);
    EXPECT_EQ(SizeNames(kind).empty(), IsOuter(kind)) << Name(kind);
  }
}

}  // namespace
}  // namespace tessera
