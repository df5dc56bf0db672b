// tessera generate: from a prompt to pictures.
#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "attention/explain.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/generate_flags.h"
#include "pipeline/pipeline.h"
#include "pipeline/resource_plan.h"
#include "pipeline/trace_summary.h"

namespace tessera {
namespace {

constexpr size_t kNamesInProfile = 12;

std::vector<SelectedSite> Selected(const RunState& run) {
  const auto schedule = ScheduleOf(run.request);
  return SelectSites(AllSites(run), run.attention.device(), schedule, run.job.steps, run.request.registry());
}

int PrintPlan(const RunState& run, const FlagValues& values) {
  const ResourcePlan plan = PlanResources(run);
  if (values.Bool("json")) {
    nlohmann::json json = plan.ToJson();
    json["attention"] = SelectionsToJson(Selected(run));
    json["size"] = {{"height", run.job.size.height}, {"width", run.job.size.width}};
    std::fputs((json.dump(2) + "\n").c_str(), stdout);
  } else {
    std::fputs((plan.ToText() + "\n" + PrintSelections(Selected(run), TableFormat::kText)).c_str(), stdout);
  }
  CheckMemory(run, plan);
  return 0;
}

void ReportTrace(const TraceRecorder& recorder) {
  if (recorder.dropped() > 0) {
    Log(LogLevel::kWarning,
        fmt::format("--profile: the trace is full; {} of {} events were dropped", recorder.dropped(),
                    recorder.dropped() + static_cast<int64_t>(recorder.events().size())));
  }
  Log(LogLevel::kInfo, PrintShares(recorder, kNamesInProfile, TableFormat::kText));
}

}  // namespace

int GenerateCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(GenerateFlags(), arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(GenerateFlags()).c_str(), stdout);
    return 0;
  }
  ApplyEngineFlags(values);
  const GenerateRequest request = MakeRequest(values);
  const auto run = PrepareRun(request);
  if (values.Bool("plan-only")) return PrintPlan(*run, values);
  const GenerateResult result = Generate(*run);
  if (run->trace != nullptr) ReportTrace(*run->trace);
  Log(LogLevel::kInfo, result.report.Summary() + (request.warmup_steps > 0 ? " (with warmup excluded)" : ""));
  for (const auto& file : result.files) std::fputs((file.string() + "\n").c_str(), stdout);
  return 0;
}

}  // namespace tessera
