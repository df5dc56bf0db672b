// Traces as text and as a table, of recorders that these tests fill.
#include "pipeline/trace_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "pipeline/trace_summary.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

nlohmann::json Printed(const TraceRecorder& recorder, const std::string& model = "m") {
  std::string text;
  PrintTrace(recorder, model, [&](std::string_view piece) { text += piece; });
  return nlohmann::json::parse(text);
}

std::vector<nlohmann::json> Of(const nlohmann::json& trace, const std::string& phase) {
  std::vector<nlohmann::json> events;
  for (const nlohmann::json& event : trace["traceEvents"]) {
    if (event["ph"] == phase) events.push_back(event);
  }
  return events;
}

void Spin(const TraceRecorder& recorder, int64_t ns) {
  for (const int64_t end = recorder.NowNs() + ns; recorder.NowNs() < end;) continue;
}

const TraceLabel kAttention = {.kind = TraceKind::kAttention,
                               .name = "dense \"x\"",
                               .place = "transformer.self",
                               .index = 3,
                               .sizes = {1, 24, 12, 128, 4608, 77},
                               .flops = 2e9};

TEST(TraceFile, SpansHaveWhatTheLabelsSay) {
  TraceRecorder recorder;
  {
    const TraceScope step(&recorder, {.kind = TraceKind::kStep, .name = "step", .index = 4});
    TraceScope attention(&recorder, kAttention);
    attention.SetDensity(0.25);
    Spin(recorder, 1000);
  }
  const nlohmann::json trace = Printed(recorder, "a\\b");
  EXPECT_EQ(trace["otherData"]["model"], "a\\b");
  EXPECT_EQ(trace["otherData"]["events"], 2);
  EXPECT_EQ(trace["otherData"]["dropped_events"], 0);
  const auto spans = Of(trace, "X");
  ASSERT_EQ(spans.size(), 2U);
  EXPECT_EQ(spans[0]["name"], "step 4");
  EXPECT_EQ(spans[0]["cat"], "step");
  EXPECT_EQ(spans[1]["name"], "dense \"x\"");
  EXPECT_EQ(spans[1]["cat"], "attention");
  nlohmann::json arguments = spans[1]["args"];
  EXPECT_EQ(arguments["gflop"], 0.5);
  EXPECT_NEAR(arguments["gflop_per_s"].get<double>(), 0.5 / (spans[1]["dur"].get<double>() / 1e6), 1e-3 * 5e5);
  arguments.erase("gflop");
  arguments.erase("gflop_per_s");
  EXPECT_EQ(arguments, nlohmann::json({{"site", "transformer.self"},
                                       {"layer", 3},
                                       {"batch", 1},
                                       {"heads", 24},
                                       {"kv_heads", 12},
                                       {"head_dim", 128},
                                       {"q_len", 4608},
                                       {"kv_len", 77},
                                       {"density", 0.25}}));
}

TEST(TraceFile, ProcessThreadsAndMemoryAreNamed) {
  TraceRecorder recorder;
  { const TraceScope scope(&recorder, {.name = "block"}); }
  const nlohmann::json trace = Printed(recorder);
  const auto names = Of(trace, "M");
  ASSERT_EQ(names.size(), 2U);
  EXPECT_EQ(names[0]["name"], "process_name");
  EXPECT_EQ(names[1]["name"], "thread_name");
  EXPECT_EQ(names[1]["args"]["name"], "main");
  const auto memory = Of(trace, "C");
  ASSERT_FALSE(memory.empty());
  EXPECT_EQ(memory[0]["name"], "resident memory");
  EXPECT_GT(memory[0]["args"]["MiB"].get<double>(), 1);
  EXPECT_EQ(Of(trace, "X")[0]["tid"], names[1]["tid"]);
}

TEST(TraceFile, SaysHowManyEventsWereDropped) {
  TraceRecorder recorder(8);
  for (int i = 0; i < 10; ++i) TraceScope(&recorder, kAttention);
  const nlohmann::json trace = Printed(recorder);
  EXPECT_EQ(trace["otherData"]["dropped_events"], 3);
  EXPECT_EQ(Of(trace, "X").size(), 7U);
  ASSERT_EQ(Of(trace, "i").size(), 1U);
  EXPECT_THAT(Of(trace, "i")[0]["name"].get<std::string>(), HasSubstr("3 later events were dropped"));
}

TEST(TraceFile, TextCutInsideACharacterIsStillJson) {
  TraceRecorder recorder;
  std::string name = "x";
  while (name.size() < 60) name += "ö";
  { const TraceScope scope(&recorder, {.name = name}); }
  EXPECT_THAT(Of(Printed(recorder), "X")[0]["name"].get<std::string>(), ::testing::StartsWith("xöö"));
}

TEST(TraceFile, ManyEventsComeInPiecesAndMakeOneText) {
  TraceRecorder recorder;
  for (int i = 0; i < 20000; ++i) TraceScope(&recorder, kAttention);
  int pieces = 0;
  std::string text;
  PrintTrace(recorder, "m", [&](std::string_view piece) {
    text += piece;
    ++pieces;
  });
  EXPECT_GT(pieces, 2);
  EXPECT_EQ(Of(nlohmann::json::parse(text), "X").size(), 20000U);
}

TEST(TraceFile, AFileThatCannotBeWrittenIsOneLine) {
  const TemporaryFolder folder;
  folder.Write("taken", "x");
  const TraceRecorder recorder;
  EXPECT_THAT(ErrorOf([&] { WriteTrace(recorder, "m", folder.path() / "taken" / "t.json"); }), HasSubstr("taken"));
  WriteTrace(recorder, "m", folder.path() / "new" / "t.json");
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "new" / "t.json"));
}

TEST(TraceSummary, SelfTimeIsWhatNoInnerSpanHas) {
  TraceRecorder recorder;
  {
    const TraceScope stage(&recorder, {.kind = TraceKind::kStage, .name = "Stage"});
    for (int i = 0; i < 2; ++i) {
      const TraceScope block(&recorder, {.name = "block", .index = i});
      { const TraceScope attention(&recorder, kAttention), inner(&recorder, {.kind = TraceKind::kNorm, .name = "n"}); }
      Spin(recorder, 3'000'000);
    }
    Spin(recorder, 1'000'000);
  }
  const auto events = recorder.events();
  const auto length = [&](size_t i) { return static_cast<double>(events[i].end_ns - events[i].begin_ns) / 1e9; };
  const std::vector<TraceShare> kinds = SharesByKind(recorder);
  ASSERT_EQ(kinds.size(), 4U);
  EXPECT_EQ(kinds[0].kind, TraceKind::kBlock);
  EXPECT_EQ(kinds[0].calls, 2);
  EXPECT_NEAR(kinds[0].self_seconds, length(1) + length(4) - length(2) - length(5), 1e-9);
  EXPECT_EQ(kinds[1].kind, TraceKind::kStage);
  EXPECT_NEAR(kinds[1].self_seconds, length(0) - length(1) - length(4), 1e-9);
  double all = 0;
  for (const TraceShare& share : kinds) all += share.self_seconds;
  EXPECT_NEAR(all, length(0), 1e-9);
}

TEST(TraceSummary, TableHasKindsThenTheMostExpensiveNames) {
  TraceRecorder recorder;
  for (const char* name : {"a", "b", "c"}) {
    const TraceScope scope(&recorder, {.kind = TraceKind::kLinear, .name = name, .flops = 1e6});
    Spin(recorder, name[0] == 'b' ? 2'000'000 : 10'000);
  }
  const std::string table = PrintShares(recorder, 1, TableFormat::kMarkdown);
  EXPECT_THAT(table, HasSubstr("| linear | all | 3 |"));
  EXPECT_THAT(table, HasSubstr("| linear | b | 1 |"));
  EXPECT_THAT(table, ::testing::Not(HasSubstr("| linear | a |")));
  EXPECT_THAT(table, HasSubstr("GFLOP/s"));
}

}  // namespace
}  // namespace tessera
