// Log lines on stderr. The level is set once, by the command line.
#pragma once
#include <string_view>

namespace tessera {

enum class LogLevel { kError, kWarning, kInfo, kDebug };

void SetLogLevel(LogLevel level) noexcept;
LogLevel GetLogLevel() noexcept;
void Log(LogLevel level, std::string_view line);

}  // namespace tessera
