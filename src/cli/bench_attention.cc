#include "cli/bench_attention.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "attention/request_options.h"
#include "attention/rules.h"
#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/bench_operands.h"
#include "media/bar_chart.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"
#include "platform/cpu/peak.h"
#include "tensor/storage.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kPeakRuns = 3;
constexpr int kLayers = 32;  // of the model a problem without a layer is taken to come from

struct Job {
  AttentionProblem problem;
  const AttentionBackend* backend;
  std::vector<std::string> refused;  // reasons; such a job does not run
  Options options = {};              // that this backend knows
};

// Median times of one Run in the middle of a request.
struct Times {
  double run = 0, planning = 0, preparing = 0;  // seconds; preparing: what is done once per request
  double density = 1;
};

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Methods may leave early layers and steps dense: the layer where this plan expects to visit least.
int SparsestLayer(const AttentionPlan& plan, int step) {
  int best = 0;
  for (int layer = 1; layer < kLayers; ++layer) {
    if (plan.ExpectedDensity(step, layer) < plan.ExpectedDensity(step, best)) best = layer;
  }
  return best;
}

// A problem without a step runs in the middle of a request, one step per run.
Times Measure(AttentionPlan& plan, const AttentionProblem& problem, AttentionIO io, int runs) {
  const int first = problem.step >= 0 ? problem.step : 2 * (runs + 1);
  const auto step_of = [&](int run) { return problem.step >= 0 ? first : first + run; };
  Times times;
  const double begin = SecondsNow();
  plan.BeginRequest({.steps = problem.step >= 0 ? first + 1 : 4 * (runs + 1),
                     .layers = problem.layer >= 0 ? problem.layer + 1 : kLayers});
  times.preparing = SecondsNow() - begin;
  io.place.layer = problem.layer >= 0 ? problem.layer : SparsestLayer(plan, first);
  const size_t bytes = plan.workspace_bytes();
  const auto workspace = AllocateAligned(bytes);
  std::vector<double> seconds, planning;
  for (int run = 0; run <= runs; ++run) {
    plan.BeginStep(step_of(run));
    const double start = SecondsNow();
    plan.Run(io, {workspace.get(), bytes});
    if (run == 0) continue;  // the first warms up
    seconds.push_back(SecondsNow() - start);
    planning.push_back(plan.planning_seconds());
  }
  times.run = Median(seconds);
  times.planning = Median(planning);
  times.density = plan.density();
  return times;
}

// Peaks in operations per second, measured once per call of the benchmark.
struct Peaks {
  double f32, bf16, int8;
  double Of(std::string_view arithmetic) const {
    const double peak = arithmetic == "int8" ? int8 : arithmetic == "bf16" ? bf16 : f32;
    return peak > 0 ? peak : f32;
  }
};

double Round(double value, double step) { return std::round(value / step) * step; }

Json Refused(const Job& job) {
  return {{"problem", Print(job.problem)}, {"backend", job.backend->name}, {"refused", job.refused}};
}

// Shares of peaks count what was visited; GFLOP/s also as if every visible pair had been.
Json Describe(const Job& job, const Device& device, const Peaks& peaks, const BenchAttentionOptions& options) {
  const BenchOperands operands = MakeBenchOperands(job.problem);
  const double begin = SecondsNow();
  const auto plan = MakePlan(*job.backend, job.problem, device, job.options);
  const double making = SecondsNow() - begin;
  const Times times = Measure(*plan, job.problem, operands.io, options.runs);
  if (!plan->failure().empty()) {
    throw Error(ErrorKind::kUnsupported, fmt::format("attention backend '{}' failed at '{}': {}", job.backend->name,
                                                     Print(job.problem), Printable(plan->failure(), 300)));
  }
  const double dense = 4.0 * job.problem.head_dim * VisiblePairs(job.problem, operands.io) / times.run;
  const double visited = dense * times.density;
  Json object;
  object["problem"] = Print(job.problem);
  object["backend"] = job.backend->name;
  object["isa"] = Name(device.isa);
  object["threads"] = Threads();
  object["median_ms"] = Round(times.run * 1e3, 1e-4);
  object["planning_ms"] = Round(times.planning * 1e3, 1e-4);
  object["preparing_ms"] = Round((making + times.preparing) * 1e3, 1e-4);
  object["density"] = Round(times.density, 1e-6);
  object["gflops"] = Round(dense / 1e9, 0.01);
  object["gflops_visited"] = Round(visited / 1e9, 0.01);
  object["share_of_peak"] = Round(visited / peaks.Of(job.problem.dtype == DType::kBF16 ? "bf16" : "f32"), 1e-4);
  object["arithmetic"] = plan->arithmetic();
  object["share_of_arithmetic_peak"] = Round(visited / peaks.Of(plan->arithmetic()), 1e-4);
  object["rel_l1"] = SampledError(job.problem, operands.io);
  object["workspace_bytes"] = plan->workspace_bytes();
  return object;
}

Job MakeJob(const std::string& line, const AttentionBackend& backend, const Device& device) {
  Job job{ParseAttentionProblem(line), &backend, {}};
  const auto reasons = Refusals(backend, job.problem, device);
  job.refused.assign(reasons.begin(), reasons.end());
  return job;
}

// A backend that cannot do what the options ask is refused as well.
Job MakeJobOfAll(const std::string& line, const AttentionBackend& backend, const Device& device,
                 const Options& options) {
  Job job = MakeJob(line, backend, device);
  job.options = options;
  try {
    if (job.refused.empty()) MakePlan(backend, job.problem, device, options);
  } catch (const Error& error) {
    job.refused.emplace_back(error.what());
  }
  return job;
}

Job MakeNamedJob(const std::string& line, const AttentionBackend& backend, const Device& device,
                 const Options& options) {
  Job job = MakeJob(line, backend, device);
  if (!job.refused.empty()) {
    throw Error(ErrorKind::kUnsupported, fmt::format("attention backend '{}' cannot serve '{}': {}", backend.name,
                                                     Print(job.problem), Join(job.refused, "; ")));
  }
  job.options = options;
  return job;
}

// All backends that are measured, with the options that they share out.
AttentionRequest RequestOf(const BenchAttentionOptions& options, const AttentionRegistry& registry) {
  AttentionRequest request{{}, ChoiceSource::kCommandLine, Fidelity::kSparse, options.options};
  for (const std::string& name : options.backends) {
    if (Lower(name) != "all") {
      request.names.push_back(name);
      continue;
    }
    for (const AttentionBackend* backend : registry.backends()) request.names.emplace_back(backend->name);
  }
  return request;
}

std::vector<Job> JobsOf(const BenchAttentionOptions& options, const Device& device) {
  const AttentionRegistry& registry = options.registry ? *options.registry : AttentionRegistry::BuiltIn();
  const AttentionRequest request = RequestOf(options, registry);
  CheckOptions(request.options, request.names, registry, "--attention-backend-config");
  std::vector<Job> jobs;
  for (const std::string& line : options.problems) {
    for (const std::string& name : options.backends) {
      if (Lower(name) == "all") {
        for (const AttentionBackend* backend : registry.backends()) {
          jobs.push_back(MakeJobOfAll(line, *backend, device, OptionsFor(*backend, request, registry)));
        }
      } else {
        const AttentionBackend& backend = registry.Find(name);
        jobs.push_back(MakeNamedJob(line, backend, device, OptionsFor(backend, request, registry)));
      }
    }
  }
  return jobs;
}

void PrintRow(const Json& object, const std::string& problem_before) {
  if (object["problem"] != problem_before) {
    fmt::print("{}{}\n", problem_before.empty() ? "" : "\n", object["problem"].get<std::string>());
    fmt::print("  {:<34}{:>11}{:>12}{:>9}{:>10}{:>10}{:>8}{:>12}{:>10}\n", "backend", "ms", "planning ms", "density",
               "GFLOP/s", "visited", "% peak", "arithmetic", "rel_l1");
  }
  const auto number = [&](const char* key) { return object[key].get<double>(); };
  const auto text = [&](const char* key) { return object[key].get<std::string>(); };
  if (object.contains("refused")) {
    fmt::print("  {:<34}refused: {}\n", text("backend"), Join(object["refused"].get<std::vector<std::string>>(), "; "));
    return;
  }
  fmt::print("  {:<34}{:>11.3f}{:>12.3f}{:>9.4f}{:>10.1f}{:>10.1f}{:>8.1f}{:>12}{:>10.2g}\n", text("backend"),
             number("median_ms"), number("planning_ms"), number("density"), number("gflops"), number("gflops_visited"),
             100 * number("share_of_peak"), text("arithmetic"), number("rel_l1"));
}

// One chart per problem.
void WritePlot(const Json& objects, const std::string& path) {
  std::vector<BarChart> charts;
  for (const Json& object : objects) {
    if (object.contains("refused")) continue;
    const auto problem = object["problem"].get<std::string>();
    if (charts.empty() || charts.back().title != problem) charts.push_back({problem, {}});
    const double ms = object["median_ms"].get<double>();
    charts.back().bars.push_back({object["backend"].get<std::string>(), ms,
                                  fmt::format("{:.3g} ms, density {:.3f}, error {:.1g}", ms,
                                              object["density"].get<double>(), object["rel_l1"].get<double>())});
  }
  const std::vector<uint8_t> bytes = EncodePicture(DrawBarCharts(charts), {});
  WriteFileAtomically(path, std::as_bytes(std::span(bytes)));
}

}  // namespace

int BenchAttention(const BenchAttentionOptions& options) {
  const Device device = CpuDevice();
  const auto jobs = JobsOf(options, device);
  if (jobs.empty()) throw Error(ErrorKind::kUsage, "bench attention: no problem lines or no backends given");
  if (options.runs < 1)
    throw Error(ErrorKind::kUsage, fmt::format("bench attention: {} runs, wanted at least 1", options.runs));
  if (!options.plot.empty()) AtomicFile attempt(options.plot);
  const Peaks peaks{MeasurePeak(PeakKind::kF32, kPeakRuns), MeasurePeak(PeakKind::kBf16, kPeakRuns),
                    MeasurePeak(PeakKind::kInt8, kPeakRuns)};
  Json objects = Json::array();
  std::string problem_before;
  for (const Job& job : jobs) {
    objects.push_back(job.refused.empty() ? Describe(job, device, peaks, options) : Refused(job));
    if (options.format == BenchFormat::kText) PrintRow(objects.back(), problem_before);
    problem_before = Print(job.problem);
    std::fflush(stdout);
  }
  if (options.format == BenchFormat::kJson) std::puts(objects.dump(2).c_str());
  if (!options.plot.empty()) WritePlot(objects, options.plot);
  return 0;
}

}  // namespace tessera
