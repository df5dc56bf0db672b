// tessera attend: runs any attention backend on anyone's tensors and says how far it is from exact attention.
#include <cstdio>

#include <fmt/format.h>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/attend/attend_report.h"
#include "cli/attention_plugins.h"
#include "cli/backend_options.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr double kMostSeed = 9007199254740992.0;  // exact in JSON

constexpr Flag kWhatFlags[] = {
    {"backend", FlagKind::kString, "the backend, also planner+kernel", "", "", "", "NAME[+NAME]", "attention-backend"},
    {"input", FlagKind::kString,
     "tensors q k v, optional gate bias key_lengths cu_seqlens_q cu_seqlens_k; [batch, seq, heads, head_dim]", "", "",
     "", "FILE.safetensors"},
    {"output", FlagKind::kString, "where out, lse and the masks go", "", "", "", "FILE.safetensors"},
    {"plan-out", FlagKind::kString, "where the planner's decision goes: masks and block lists", "", "", "",
     "FILE.safetensors"},
    {"problem", FlagKind::kString, "the problem line", "", "the file's metadata 'problem'", "", "LINE"},
    {"dtype", FlagKind::kChoice, "compute in this dtype", "", "the problem's", "f32|bf16|f16"},
    {"run", FlagKind::kStrings, "runs of a file that holds several, in order; all: every one", "", "the first", "",
     "NAME"},
    {"attention-backend-config", FlagKind::kString, "options of the backend: key=value,..., JSON or a file", "",
     "the file's metadata 'config'", "", "CONFIG"},
    {"step", FlagKind::kInt, "denoising step of the call", "", "the problem's", "", "N", "", 0, 1 << 20},
    {"layer", FlagKind::kInt, "layer of the call", "", "the problem's", "", "N", "", 0, 1 << 20},
    {"steps", FlagKind::kInt, "denoising steps of the whole request", "", "up to the last step that runs", "", "N", "",
     1, 1 << 20},
    {"layers", FlagKind::kInt, "attention layers of the model", "", "up to the last layer that runs", "", "N", "", 1,
     1 << 16},
    {"seed", FlagKind::kInt, "seed of what a planner draws", "0", "", "", "", "", 0, kMostSeed},
    kAttentionPluginFlag,
};
constexpr Flag kHowFlags[] = {
    {"json", FlagKind::kBool, "print JSON"},
    {"runs", FlagKind::kInt, "timed runs; the median counts", "5", "", "", "", "", 1, 1000},
    {"threads", FlagKind::kInt, "threads", "", "all cores", "", "", "", 1, 4096},
    {"isa", FlagKind::kChoice, "highest instruction set to use", "", "the machine's", "scalar|avx2|avx512|avx512_bf16"},
};
constexpr FlagGroup kGroups[] = {{"What", kWhatFlags}, {"How", kHowFlags}};
constexpr FlagTable kTable{"tessera attend", "run an attention backend on given tensors and check it", kGroups};

std::optional<int> Whole(const FlagValues& values, std::string_view flag) {
  return values.Has(flag) ? std::optional(static_cast<int>(values.Int(flag))) : std::nullopt;
}

AttendWishes WishesOf(const FlagValues& values) {
  AttendWishes wishes;
  if (values.Has("run")) wishes.runs = values.Strings("run");
  wishes.problem = values.String("problem");
  if (values.Has("dtype")) wishes.dtype = ParseDType(values.String("dtype"));
  if (values.Has("attention-backend-config")) {
    wishes.options = ParseBackendOptions(values.String("attention-backend-config"));
  }
  wishes.step = Whole(values, "step");
  wishes.layer = Whole(values, "layer");
  return wishes;
}

bool SameFile(const std::string& a, const std::string& b) {
  std::error_code code;
  return std::filesystem::weakly_canonical(a, code) == std::filesystem::weakly_canonical(b, code);
}

// What must hold before any work.
void CheckFiles(const FlagValues& values) {
  for (const char* flag : {"backend", "input", "output"}) {
    if (values.String(flag).empty()) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("attend needs --{}; tessera attend --backend fa --input qkv.safetensors --output "
                              "out.safetensors",
                              flag));
    }
  }
  const std::string input = values.String("input"), output = values.String("output");
  const std::string plan = values.String("plan-out");
  if (SameFile(input, output)) throw Error(ErrorKind::kUsage, "--output is the file of --input; name another one");
  if (!plan.empty() && (SameFile(plan, input) || SameFile(plan, output))) {
    throw Error(ErrorKind::kUsage, "--plan-out is the file of --input or --output; name another one");
  }
}

// The gate adds what exact attention has not: errors are measured with the gate at zero.
std::vector<AttendResult> ResultsToMeasure(std::vector<AttendCall>& calls, const std::vector<AttendResult>& results,
                                           AttendSetup setup) {
  bool gated = false;
  for (AttendCall& call : calls) {
    if (!call.problem.has_gate) continue;
    gated = true;
    call.gate = Tensor::Zeros(call.gate.shape(), call.gate.dtype());
  }
  if (!gated) return results;
  setup.runs = 1;
  return RunCalls(calls, setup);
}

struct Told {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  std::string text;
  NamedTensors tensors, plan;
};

void Append(const NamedTensors& from, const std::string& run, NamedTensors& to) {
  for (const auto& [name, tensor] : from) to.emplace_back(run.empty() ? name : run + "." + name, tensor);
}

Told Tell(const std::vector<AttendCall>& calls, const std::vector<AttendResult>& results, const AttendSetup& setup) {
  std::vector<AttendCall> measured_calls = calls;
  std::vector<AttendResult> measured = ResultsToMeasure(measured_calls, results, setup);
  Told told;
  for (size_t i = 0; i < calls.size(); ++i) {
    const AttendErrors errors = ErrorsOf(measured_calls[i], measured[i]);
    const AttendOutcome outcome{calls[i], results[i], errors, setup};
    told.json.push_back(ToJson(outcome));
    told.text += ToText(outcome);
    const std::string prefix = calls.size() > 1 ? calls[i].run : "";
    Append(ResultTensors(outcome), prefix, told.tensors);
    Append(PlanTensors(outcome), prefix, told.plan);
  }
  return told;
}

std::map<std::string, std::string> MetadataOf(const nlohmann::ordered_json& calls) {
  return {{"backend", calls[0]["backend"]},
          {"problem", calls[0]["problem"]},
          {"config", calls[0]["config"].dump()},
          {"runs", calls.dump()}};
}

}  // namespace

int AttendCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(kTable, arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(kTable).c_str(), stdout);
    return 0;
  }
  ApplyIsaChoice(values.String("isa"));
  SetThreads(static_cast<int>(values.Int("threads", 0)));
  CheckFiles(values);
  const auto registry = RegistryOf(values);
  const AttendSetup setup{.backend = registry->Find(values.String("backend")),
                          .device = CpuDevice(),
                          .runs = static_cast<int>(values.Int("runs")),
                          .steps = static_cast<int>(values.Int("steps", 0)),
                          .layers = static_cast<int>(values.Int("layers", 0)),
                          .seed = static_cast<uint64_t>(values.Int("seed"))};
  const std::vector<AttendCall> calls = AttendInput(values.String("input")).Calls(setup.backend, WishesOf(values));
  { AtomicFile attempt(values.String("output")); }  // a name that cannot be written shows before the work
  const Told told = Tell(calls, RunCalls(calls, setup), setup);
  WriteSafetensors(values.String("output"), told.tensors, MetadataOf(told.json));
  if (values.Has("plan-out")) WriteSafetensors(values.String("plan-out"), told.plan, MetadataOf(told.json));
  const std::string json = (told.json.size() == 1 ? told.json[0] : told.json).dump(2) + "\n";
  std::fputs(values.Bool("json") ? json.c_str() : told.text.c_str(), stdout);
  return 0;
}

}  // namespace tessera
