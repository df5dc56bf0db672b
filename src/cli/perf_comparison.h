// Compares performance dumps: the rules of SGLang's compare_perf, as Markdown and as JSON.
#pragma once
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/perf_dump.h"

namespace tessera {

struct ColumnDifference {
  double milliseconds = 0;
  double percent = 0;  // 0 for a baseline of 0
};
ColumnDifference DifferenceOf(double baseline, double now) noexcept;

enum class Speed { kFaster, kSimilar, kSlower };
// Of a whole run: by more than 2 %.
Speed SpeedOfRun(double baseline, double now) noexcept;
// Of a stage: by more than 10 % and by more than 120 ms.
Speed SpeedOfStage(double baseline, double now) noexcept;

// The first dump is the baseline; there are at least two. With two: a row per stage with differences; with more: a
// column per dump. Stages stand in the order of the newest (last) dump, then those only earlier dumps and the
// baseline have.
std::string ComparisonMarkdown(std::span<const PerfDump> dumps, const std::string& timestamp);
nlohmann::json ComparisonJson(std::span<const PerfDump> dumps);

}  // namespace tessera
