#include "pipeline/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/log.h"

namespace tessera {
namespace {
constexpr int64_t kBarWidth = 24;
constexpr const char* kEraseLine = "\r\x1b[K";
}  // namespace

std::string ProgressBar(const ProgressStage& stage, int64_t done_before, double seconds) {
  const int64_t filled = stage.total > 0 ? std::min(kBarWidth, kBarWidth * stage.done / stage.total) : 0;
  const std::string pace = PaceText(stage, done_before, seconds);
  return fmt::format("{:<16} [{}{}] {}/{}{}{}", stage.label, std::string(static_cast<size_t>(filled), '#'),
                     std::string(static_cast<size_t>(kBarWidth - filled), '.'), stage.done, stage.total,
                     pace.empty() ? "" : "  ", pace);
}

Progress::Progress() : form_(FormOf()), log_(SecondsNow()) {}

Progress::Form Progress::FormOf() {
  if (GetLogLevel() < LogLevel::kInfo) return Form::kSilent;
  return ::isatty(STDERR_FILENO) == 1 ? Form::kBar : Form::kLines;
}

void Progress::Begin(const ProgressStage& stage) {
  stage_ = stage;
  done_before_ = stage.done;
  begin_ = last_time_ = SecondsNow();
  if (form_ == Form::kBar) Draw();
  if (form_ == Form::kLines) Say(log_.Begin(stage, begin_));
}

void Progress::Advance() {
  last_time_ = SecondsNow();
  ++stage_.done;
  if (form_ == Form::kBar) Draw();
  if (form_ == Form::kLines) Say(log_.Advance(last_time_));
}

void Progress::Finish() {
  if (form_ == Form::kBar) std::fputs(kEraseLine, stderr);
  if (form_ == Form::kLines) Say(log_.Finish(SecondsNow()));
}

void Progress::Say(const std::string& line) {
  if (!line.empty()) Log(LogLevel::kInfo, line);
}

void Progress::Draw() const {
  std::fputs((kEraseLine + ProgressBar(stage_, done_before_, last_time_ - begin_)).c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace tessera
