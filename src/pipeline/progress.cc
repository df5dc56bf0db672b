#include "pipeline/progress.h"

#include <unistd.h>

#include <cstdio>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "pipeline/report.h"

namespace tessera {
namespace {
constexpr int kBarWidth = 24;
constexpr const char* kEraseLine = "\r\x1b[K";
}  // namespace

Progress::Progress() : visible_(::isatty(STDERR_FILENO) == 1 && GetLogLevel() >= LogLevel::kInfo) {}

void Progress::Begin(const std::string& label, int64_t total) {
  label_ = label;
  total_ = total;
  done_ = 0;
  begin_ = last_time_ = SecondsNow();
  last_step_ = 0;
  Draw();
}

void Progress::Advance() {
  const double now = SecondsNow();
  last_step_ = now - last_time_;
  last_time_ = now;
  ++done_;
  Draw();
}

void Progress::Finish() {
  if (visible_) std::fputs(kEraseLine, stderr);
}

void Progress::Draw() {
  if (!visible_) return;
  const auto filled = static_cast<size_t>(total_ > 0 ? kBarWidth * done_ / total_ : 0);
  std::string line = fmt::format("{}{:<16} [{}{}] {}/{}", kEraseLine, label_, std::string(filled, '#'),
                                 std::string(kBarWidth - filled, '.'), done_, total_);
  if (done_ > 0) {
    const double left = (last_time_ - begin_) / static_cast<double>(done_) * static_cast<double>(total_ - done_);
    line += fmt::format("  {}/step  ETA {}", FormatSeconds(last_step_), FormatSeconds(left));
  }
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace tessera
