#include "pipeline/progress_log.h"

#include <fmt/format.h>

#include "base/text.h"

namespace tessera {
namespace {

constexpr double kLeastSeconds = 10, kMostSeconds = 60;  // between two lines

std::string Count(int64_t count, const std::string& unit) {
  return fmt::format("{} {}{}", count, unit, count == 1 ? "" : "s");
}

}  // namespace

std::string PaceText(const ProgressStage& stage, int64_t done_before, double seconds) {
  const int64_t done = stage.done - done_before;
  if (done <= 0) return "";
  const double each = seconds / static_cast<double>(done);
  return fmt::format("{} a {}, {} left", FormatSeconds(each), stage.unit,
                     FormatSeconds(each * static_cast<double>(stage.total - stage.done)));
}

std::string ProgressLog::Begin(const ProgressStage& stage, double now) {
  stage_ = stage;
  done_before_ = stage.done;
  begin_ = now;
  said_tenths_ = Tenths();
  if (now - last_line_ < kLeastSeconds) return "";
  const std::string from = stage.done > 0 ? fmt::format(", {} done before", stage.done) : "";
  return Said(fmt::format("{}: {}{}", stage_.label, Count(stage_.total, stage_.unit), from), now);
}

std::string ProgressLog::Advance(double now) {
  ++stage_.done;
  const double silent = now - last_line_;
  if (silent < kLeastSeconds || stage_.done >= stage_.total) return "";  // the end is Finish's to tell
  if (silent < kMostSeconds && Tenths() == said_tenths_) return "";
  return Said(fmt::format("{}: {} {} of {}, {}", stage_.label, stage_.unit, stage_.done, stage_.total,
                          PaceText(stage_, done_before_, now - begin_)),
              now);
}

std::string ProgressLog::Finish(double now) {
  const double seconds = now - begin_;
  if (seconds < kLeastSeconds) return "";
  const int64_t done = stage_.done - done_before_;
  return Said(fmt::format("{}: {} in {}", stage_.label, Count(done, stage_.unit), FormatSeconds(seconds)), now);
}

std::string ProgressLog::Said(std::string line, double now) {
  last_line_ = now;
  said_tenths_ = Tenths();
  return line;
}

}  // namespace tessera
