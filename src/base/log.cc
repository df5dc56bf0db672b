#include "base/log.h"

#include <atomic>
#include <cstdio>
#include <string>

namespace tessera {
namespace {
std::atomic<LogLevel> current_level{LogLevel::kInfo};
}  // namespace

void SetLogLevel(LogLevel level) noexcept { current_level.store(level); }
LogLevel GetLogLevel() noexcept { return current_level.load(); }

void Log(LogLevel level, std::string_view line) {
  if (level > current_level.load()) return;
  const char* prefix = level == LogLevel::kError ? "error: " : level == LogLevel::kWarning ? "warning: " : "";
  const std::string text = std::string(prefix).append(line).append("\n");
  std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace tessera
