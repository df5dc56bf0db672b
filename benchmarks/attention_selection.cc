// How long it takes to choose a backend for one site.
#include <benchmark/benchmark.h>

#include "attention/registry.h"
#include "attention/schedule.h"
#include "attention/selector.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr const char* kPicture = "bf16 b1 h24/24 d128 q4608 kv4608 role=joint grid=1x64x64+512";

void SelectFor(benchmark::State& state, const AttentionRequest& request, const char* line) {
  const AttentionProblem problem = ParseAttentionProblem(line);
  const Device device = CpuDevice();
  const AttentionRegistry& registry = AttentionRegistry::BuiltIn();
  for (auto _ : state) benchmark::DoNotOptimize(Select(problem, device, request, registry, "transformer.joint.0"));
}

void SelectAuto(benchmark::State& state) { SelectFor(state, {}, kPicture); }
BENCHMARK(SelectAuto);

void SelectByName(benchmark::State& state) {
  AttentionRequest request;
  request.names = {"fa"};
  request.source = ChoiceSource::kCommandLine;
  SelectFor(state, request, kPicture);
}
BENCHMARK(SelectByName);

void SelectWithFallBack(benchmark::State& state) {
  AttentionRequest request;
  request.names = {"fa", "torch_sdpa", "auto"};
  request.source = ChoiceSource::kCommandLine;
  SelectFor(state, request, "bf16 b1 h24/24 d128 q4608 kv4608 mask=bias role=joint");
}
BENCHMARK(SelectWithFallBack);

void FindTheRuleOfASite(benchmark::State& state) {
  const auto schedule = AttentionSchedule::FromBackendNames("fa", ChoiceSource::kCommandLine);
  const AttentionSite site{"transformer", AttentionRole::kJoint, 3};
  for (auto _ : state) benchmark::DoNotOptimize(schedule.RuleFor(site, 5, {.layers = 25, .steps = 50}));
}
BENCHMARK(FindTheRuleOfASite);

}  // namespace
}  // namespace tessera
