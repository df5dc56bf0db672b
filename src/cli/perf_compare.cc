// tessera perf-compare: a report on what became faster and slower between performance dumps.
#include <chrono>
#include <cstdio>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/perf_comparison.h"

namespace tessera {
namespace {

constexpr Flag kFlags[] = {
    {"files", FlagKind::kStrings, "performance dumps, the baseline first; also as bare words", "", "", "", "FILE"},
    {"json", FlagKind::kBool, "print JSON instead of Markdown"},
    {.name = "fail-above",
     .kind = FlagKind::kFloat,
     .help = "exit with 1 when a whole run takes longer than the baseline by more than this many percent",
     .when_absent = "never",
     .value_name = "PERCENT",
     .least = 0},
};
constexpr FlagGroup kGroups[] = {{"Flags", kFlags}};
constexpr FlagTable kTable{"tessera perf-compare", "compare performance dumps of generate", kGroups, "files"};
constexpr int kTooSlow = 1;

std::string Now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now);
  const auto rest = std::chrono::duration_cast<std::chrono::microseconds>(now - seconds);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}", fmt::localtime(static_cast<std::time_t>(seconds.count())),
                     rest.count());
}

std::vector<PerfDump> ReadDumps(const std::vector<std::string>& files) {
  if (files.size() < 2) {
    throw Error(ErrorKind::kUsage,
                fmt::format("perf-compare needs a baseline and at least one other file; {} given", files.size()));
  }
  std::vector<PerfDump> dumps;
  for (const std::string& file : files) dumps.push_back(ReadPerfDump(file));
  return dumps;
}

int ExitCodeOf(const std::vector<PerfDump>& dumps, double percent) {
  const PerfDump& baseline = dumps.front();
  int code = 0;
  for (const PerfDump& dump : std::span(dumps).subspan(1)) {
    const double slower = DifferenceOf(baseline.total_milliseconds, dump.total_milliseconds).percent;
    if (!(slower > percent)) continue;
    Log(LogLevel::kError, fmt::format("{}: {:.1f} % slower than {}; --fail-above {} allows less", Printable(dump.label),
                                      slower, Printable(baseline.label), percent));
    code = kTooSlow;
  }
  return code;
}

}  // namespace

int PerfCompareCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(kTable, arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(kTable).c_str(), stdout);
    return 0;
  }
  const std::vector<PerfDump> dumps = ReadDumps(values.Strings("files"));
  if (values.Has("fail-above") && !(dumps.front().total_milliseconds > 0)) {
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: total_duration_ms is 0, so --fail-above has nothing to compare with",
                            Printable(dumps.front().label)));
  }
  const std::string text =
      values.Bool("json") ? ComparisonJson(dumps).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"
                          : ComparisonMarkdown(dumps, Now());
  std::fputs(text.c_str(), stdout);
  return values.Has("fail-above") ? ExitCodeOf(dumps, values.Float("fail-above")) : 0;
}

}  // namespace tessera
