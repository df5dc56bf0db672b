// tessera explain: which attention backend serves each site of a job or a problem, and why; nothing is loaded or run.
#include <cstdio>

#include <nlohmann/json.hpp>

#include "attention/explain.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/generate_flags.h"
#include "pipeline/pipeline.h"
#include "pipeline/resource_plan.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

std::string ComponentOf(AttentionRole role) {
  return role == AttentionRole::kEncoder ? "text_encoder" : role == AttentionRole::kVae ? "vae" : "transformer";
}

// The problem as the layers of a component pose it.
std::vector<SelectedSite> SelectForProblem(const FlagValues& values, const GenerateRequest& request) {
  AttentionProblem problem = ParseAttentionProblem(values.String("problem"));
  const std::string component = ComponentOf(problem.role);
  std::vector<SiteProblem> sites;
  std::vector<AttentionSite> places;
  for (int layer = 0; layer < values.Int("layers"); ++layer) {
    problem.layer = layer;
    sites.push_back({{component, problem.role, layer}, problem});
    places.push_back(sites.back().site);
  }
  const AttentionSchedule schedule = ScheduleOf(request);
  schedule.CheckAgainst(places);
  const auto steps = static_cast<int>(request.num_inference_steps.value_or(1));
  return SelectSites(sites, CpuDevice(), schedule, steps, request.registry());
}

std::vector<SelectedSite> SelectForModel(GenerateRequest request) {
  if (request.prompts.empty()) request.prompts = {""};
  const auto run = PrepareRun(request);
  return SelectSites(AllSites(*run), run->attention.device(), ScheduleOf(request), run->job.steps, request.registry());
}

}  // namespace

int ExplainCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(ExplainFlags(), arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(ExplainFlags()).c_str(), stdout);
    return 0;
  }
  ApplyEngineFlags(values);
  if (!values.Has("problem") && values.GivenBy("layers") != FlagSource::kDefault) {
    throw Error(ErrorKind::kUsage, "--layers: needs --problem; a model has its own layers");
  }
  const GenerateRequest request = MakeRequest(values);
  const auto selected = values.Has("problem") ? SelectForProblem(values, request) : SelectForModel(request);
  const std::string text =
      values.Bool("json") ? SelectionsToJson(selected).dump(2) + "\n" : PrintSelections(selected, TableFormat::kText);
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace tessera
