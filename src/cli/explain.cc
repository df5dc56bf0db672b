// tessera explain: which attention backend serves each site of a job, and why; nothing is loaded or run.
#include <cstdio>

#include <nlohmann/json.hpp>

#include "attention/report.h"
#include "cli/commands.h"
#include "cli/generate_flags.h"
#include "pipeline/pipeline.h"
#include "pipeline/resource_plan.h"

namespace tessera {

int ExplainCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(ExplainFlags(), arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(ExplainFlags()).c_str(), stdout);
    return 0;
  }
  ApplyEngineFlags(values);
  GenerateRequest request = MakeRequest(values);
  if (request.prompts.empty()) request.prompts = {""};
  const auto run = PrepareRun(request);
  const auto schedule = ScheduleOf(request);
  const auto selected = SelectSites(AllSites(*run), run->attention.device(), schedule, request.registry());
  const std::string text =
      values.Bool("json") ? SelectionsToJson(selected).dump(2) + "\n" : PrintSelections(selected, ReportFormat::kText);
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace tessera
