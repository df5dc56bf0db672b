// tessera generate: from a prompt to pictures.
#include <cstdio>

#include <fmt/format.h>

#include "attention/report.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/generate_flags.h"
#include "pipeline/pipeline.h"
#include "pipeline/resource_plan.h"

namespace tessera {
namespace {

nlohmann::json AttentionRows(const RunState& run) {
  nlohmann::json rows = nlohmann::json::array();
  for (const AttentionRecord& record : run.attention.Records()) {
    rows.push_back({{"site", record.site.component + "." + std::string(Name(record.site.role))}, {"layers", record.layers},
                    {"problem", Print(record.problem)}, {"backend", record.backend->name}, {"why", record.why}});
  }
  return rows;
}

std::string AttentionText(const RunState& run) {
  std::string text;
  for (const auto& row : AttentionRows(run)) {
    text += fmt::format("attention {} x{}: {} ({}) for {}\n", row["site"].get<std::string>(), row["layers"].get<int>(),
                        row["backend"].get<std::string>(), row["why"].get<std::string>(), row["problem"].get<std::string>());
  }
  return text;
}

int PrintPlan(const RunState& run, const FlagValues& values) {
  const ResourcePlan plan = PlanResources(run);
  if (values.Bool("json")) {
    nlohmann::json json = plan.ToJson();
    json["attention"] = AttentionRows(run);
    json["size"] = {{"height", run.job.size.height}, {"width", run.job.size.width}};
    std::fputs((json.dump(2) + "\n").c_str(), stdout);
  } else {
    std::fputs((plan.ToText() + AttentionText(run)).c_str(), stdout);
  }
  CheckMemory(run, plan);
  return 0;
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
  Log(LogLevel::kInfo, result.report.Summary() + (request.warmup_steps > 0 ? " (with warmup excluded)" : ""));
  for (const auto& file : result.files) std::fputs((file.string() + "\n").c_str(), stdout);
  return 0;
}

}  // namespace tessera
