#include "cli/perf_comparison.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"

namespace tessera {
namespace {

constexpr double kRunPercent = 2;
constexpr double kStageShare = 0.1, kStageMilliseconds = 120;

std::string_view RunSymbol(Speed speed) noexcept {
  switch (speed) {
    case Speed::kFaster:
      return "✅";
    case Speed::kSimilar:
      return "⚪️";
    case Speed::kSlower:
      return "❌";
  }
  return "";
}

std::string_view StageSymbol(Speed speed) noexcept {
  switch (speed) {
    case Speed::kFaster:
      return "🟢";
    case Speed::kSimilar:
      return "⚪️";
    case Speed::kSlower:
      return "🔴";
  }
  return "";
}

std::string_view Name(Speed speed) noexcept {
  switch (speed) {
    case Speed::kFaster:
      return "faster";
    case Speed::kSimilar:
      return "similar";
    case Speed::kSlower:
      return "slower";
  }
  return "";
}

double RequestsPerSecond(double milliseconds) noexcept { return milliseconds > 0 ? 1000 / milliseconds : 0; }

// A stage of that name, or one of no time.
PerfStage StageOf(const PerfDump& dump, const std::string& name) {
  const auto place = std::ranges::find(dump.stages, name, &PerfStage::name);
  return place == dump.stages.end() ? PerfStage{name, 0, 1} : *place;
}

std::vector<std::string> StageNames(std::span<const PerfDump> dumps) {
  std::vector<std::string> names;
  const auto add = [&](const PerfDump& dump) {
    for (const PerfStage& stage : dump.stages) {
      if (std::ranges::find(names, stage.name) == names.end()) names.push_back(stage.name);
    }
  };
  for (size_t i = dumps.size(); i-- > 0;) add(dumps[i]);
  return names;
}

// Text for a cell of a table, or for code, on one line.
std::string Cell(std::string_view text) {
  std::string cell;
  for (const char c : Printable(text, 200)) cell += c == '|' ? std::string("\\|") : std::string(1, c);
  return cell;
}

std::string WithSteps(const PerfStage& baseline, const PerfStage& now) {
  if (now.name != kDenoisingLoop) return Cell(now.name);
  if (baseline.count == now.count) return fmt::format("{} ({} steps)", now.name, now.count);
  return fmt::format("{} ({}->{} steps)", now.name, baseline.count, now.count);
}

std::string TwoColumns(std::span<const PerfDump> dumps) {
  const double before = dumps[0].total_milliseconds, now = dumps[1].total_milliseconds;
  const ColumnDifference whole = DifferenceOf(before, now);
  std::string text =
      "#### 1. High-level Summary\n"
      "| Metric | Baseline | New | Diff | Status |\n"
      "| :--- | :--- | :--- | :--- | :--- |\n";
  text += fmt::format("| **E2E Latency** | {:.2f} ms | {:.2f} ms | **{:+.2f} ms ({:+.1f}%)** | {} |\n", before, now,
                      whole.milliseconds, whole.percent, RunSymbol(SpeedOfRun(before, now)));
  text += fmt::format("| **Throughput** | {:.2f} req/s | {:.2f} req/s | - | - |\n", RequestsPerSecond(before),
                      RequestsPerSecond(now));
  text +=
      "\n\n#### 2. Stage Breakdown\n"
      "| Stage Name | Baseline (ms) | New (ms) | Diff (ms) | Diff (%) | Status |\n"
      "| :--- | :--- | :--- | :--- | :--- | :--- |\n";
  for (const std::string& name : StageNames(dumps)) {
    const PerfStage first = StageOf(dumps[0], name), second = StageOf(dumps[1], name);
    const ColumnDifference part = DifferenceOf(first.milliseconds, second.milliseconds);
    text += fmt::format("| {} | {:.2f} | {:.2f} | {:+.2f} | {:+.1f}% | {} |\n", WithSteps(first, second),
                        first.milliseconds, second.milliseconds, part.milliseconds, part.percent,
                        StageSymbol(SpeedOfStage(first.milliseconds, second.milliseconds)));
  }
  return text;
}

std::string Heading(std::string_view first, std::span<const PerfDump> others) {
  std::string names = fmt::format("| {} | Baseline |", first), rule = "| :--- | :--- |";
  for (const PerfDump& dump : others) {
    names += fmt::format(" {} |", Cell(dump.label));
    rule += " :--- |";
  }
  return names + "\n" + rule + "\n";
}

std::string ManyColumns(std::span<const PerfDump> dumps) {
  const double before = dumps[0].total_milliseconds;
  const auto others = dumps.subspan(1);
  std::string text = "#### 1. High-level Summary\n" + Heading("Metric", others);
  text += fmt::format("| **E2E Latency** | {:.2f} ms |", before);
  for (const PerfDump& dump : others) {
    text += fmt::format(" {:.2f} ms ({:+.1f}%) {} |", dump.total_milliseconds,
                        DifferenceOf(before, dump.total_milliseconds).percent,
                        RunSymbol(SpeedOfRun(before, dump.total_milliseconds)));
  }
  text += "\n\n\n#### 2. Stage Breakdown\n" + Heading("Stage Name", others);
  for (const std::string& name : StageNames(dumps)) {
    const double first = StageOf(dumps[0], name).milliseconds;
    text += fmt::format("| {} | {:.2f} |", Cell(name), first);
    for (const PerfDump& dump : others) {
      const double now = StageOf(dump, name).milliseconds;
      text += fmt::format(" {:.2f} ({:+.1f}%) {} |", now, DifferenceOf(first, now).percent,
                          StageSymbol(SpeedOfStage(first, now)));
    }
    text += "\n";
  }
  return text;
}

nlohmann::json StagesJson(std::span<const PerfDump> dumps, const PerfDump& dump) {
  nlohmann::json rows = nlohmann::json::array();
  for (const std::string& name : StageNames(dumps)) {
    const PerfStage first = StageOf(dumps[0], name), second = StageOf(dump, name);
    const ColumnDifference part = DifferenceOf(first.milliseconds, second.milliseconds);
    nlohmann::json row = {{"name", name},
                          {"baseline_ms", first.milliseconds},
                          {"new_ms", second.milliseconds},
                          {"diff_ms", part.milliseconds},
                          {"diff_percent", part.percent},
                          {"status", Name(SpeedOfStage(first.milliseconds, second.milliseconds))}};
    if (name == kDenoisingLoop) {
      row["baseline_steps"] = first.count;
      row["new_steps"] = second.count;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

nlohmann::json RunJson(const PerfDump& dump) {
  return {{"file", dump.label},
          {"commit_hash", dump.commit},
          {"total_duration_ms", dump.total_milliseconds},
          {"requests_per_second", RequestsPerSecond(dump.total_milliseconds)}};
}

}  // namespace

ColumnDifference DifferenceOf(double baseline, double now) noexcept {
  const double milliseconds = now - baseline;
  return {milliseconds, baseline == 0 ? 0 : milliseconds / baseline * 100};
}

Speed SpeedOfRun(double baseline, double now) noexcept {
  const double percent = DifferenceOf(baseline, now).percent;
  if (percent < -kRunPercent) return Speed::kFaster;
  return percent > kRunPercent ? Speed::kSlower : Speed::kSimilar;
}

Speed SpeedOfStage(double baseline, double now) noexcept {
  if (now > std::max(baseline * (1 + kStageShare), baseline + kStageMilliseconds)) return Speed::kSlower;
  if (now < std::min(baseline * (1 - kStageShare), baseline - kStageMilliseconds)) return Speed::kFaster;
  return Speed::kSimilar;
}

std::string ComparisonMarkdown(std::span<const PerfDump> dumps, const std::string& timestamp) {
  const bool is_pair = dumps.size() == 2;
  std::string text = "### Performance Comparison Report\n\n" + (is_pair ? TwoColumns(dumps) : ManyColumns(dumps));
  text += "\n\n<details>\n<summary>Metadata</summary>\n\n";
  text += fmt::format("- Baseline Commit: `{}`\n", Cell(dumps[0].commit));
  for (const PerfDump& dump : dumps.subspan(1)) {
    text += fmt::format("- {} Commit: `{}`\n", is_pair ? "New" : Cell(dump.label), Cell(dump.commit));
  }
  return text + fmt::format("- Timestamp: {}\n</details>\n", timestamp);
}

nlohmann::json ComparisonJson(std::span<const PerfDump> dumps) {
  nlohmann::json comparisons = nlohmann::json::array();
  for (const PerfDump& dump : dumps.subspan(1)) {
    const double before = dumps[0].total_milliseconds, now = dump.total_milliseconds;
    nlohmann::json row = RunJson(dump);
    row["diff_ms"] = DifferenceOf(before, now).milliseconds;
    row["diff_percent"] = DifferenceOf(before, now).percent;
    row["status"] = Name(SpeedOfRun(before, now));
    row["stages"] = StagesJson(dumps, dump);
    comparisons.push_back(std::move(row));
  }
  return {{"baseline", RunJson(dumps[0])}, {"comparisons", std::move(comparisons)}};
}

}  // namespace tessera
