// tessera backends: the data sheets of every attention backend.
#include <cstdio>

#include <nlohmann/json.hpp>

#include "attention/report.h"
#include "cli/attention_plugins.h"
#include "cli/commands.h"
#include "cli/flags.h"

namespace tessera {
namespace {

constexpr Flag kFlags[] = {{"json", FlagKind::kBool, "print JSON"},
                           {"markdown", FlagKind::kBool, "print a Markdown table"},
                           kAttentionPluginFlag};
constexpr FlagGroup kGroups[] = {{"Flags", kFlags}};
constexpr FlagTable kTable{"tessera backends", "list the attention backends and what each can do", kGroups};

}  // namespace

int BackendsCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(kTable, arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(kTable).c_str(), stdout);
    return 0;
  }
  const auto registry = RegistryOf(values);
  const auto backends = registry->backends();
  const ReportFormat format = values.Bool("markdown") ? ReportFormat::kMarkdown : ReportFormat::kText;
  const std::string text =
      values.Bool("json") ? BackendsToJson(backends).dump(2) + "\n" : PrintBackends(backends, format);
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace tessera
