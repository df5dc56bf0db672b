// tessera bench: measures this machine and what tessera does on it.
#include <cstdio>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "cli/attention_plugins.h"
#include "cli/backend_options.h"
#include "cli/bench_attention.h"
#include "cli/bench_layers.h"
#include "cli/bench_machine.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr Flag kSharedFlags[] = {
    {"json", FlagKind::kBool, "print JSON"},
    {"runs", FlagKind::kInt, "timed runs; the median counts", "5", "", "", "", "", 1, 1000},
    {"threads", FlagKind::kInt, "threads", "", "all cores", "", "", "", 1, 4096},
    {"isa", FlagKind::kChoice, "highest instruction set to use", "", "the machine's", "scalar|avx2|avx512|avx512_bf16"},
};
constexpr Flag kAttentionFlags[] = {
    {"problem", FlagKind::kStrings, "problem lines, also as bare words: \"bf16 b1 h24/24 d128 q4096 kv4096\"", "", "",
     "", "LINE"},
    {"backend", FlagKind::kStrings, "backends to measure; all: every one, refused ones with their reasons",
     "fa,torch_sdpa", "", "", "NAME[,NAME]", "backends"},
    {"attention-backend-config", FlagKind::kString,
     "options: key=value,..., JSON or a file; each backend takes those it knows, NAME.key is for one", "", "", "",
     "CONFIG"},
    {"plot", FlagKind::kString, "draw the times as bars into a picture", "", "", "", "FILE.png"},
    kAttentionPluginFlag,
};
constexpr Flag kLayerFlags[] = {
    {"problem", FlagKind::kStrings,
     "problem lines, also as bare words: \"1536x3072x9216 bf16\", \"128x128x512 512 k3 f32\"", "", "those of klein-4B",
     "", "LINE"},
};
constexpr FlagGroup kLayerGroups[] = {{"What", kLayerFlags}, {"How", kSharedFlags}};
constexpr FlagGroup kSharedGroups[] = {{"Flags", kSharedFlags}};
constexpr FlagGroup kAttentionGroups[] = {{"What", kAttentionFlags}, {"How", kSharedFlags}};
constexpr FlagTable kMachineTable{"tessera bench machine", "arithmetic peaks and memory bandwidth", kSharedGroups};
constexpr FlagTable kAttentionTable{"tessera bench attention", "time and check attention backends", kAttentionGroups,
                                    "problem"};
constexpr FlagTable kLinearTable{"tessera bench linear", "linear layers of klein-4B as shares of oneDNN's own products",
                                 kLayerGroups, "problem"};
constexpr FlagTable kConvolutionTable{
    "tessera bench convolution", "the autoencoder's convolutions as shares of oneDNN's own", kLayerGroups, "problem"};

BenchFormat FormatOf(const FlagValues& values) { return values.Bool("json") ? BenchFormat::kJson : BenchFormat::kText; }

int RunMachine(const FlagValues& values) {
  return BenchMachine({static_cast<int>(values.Int("runs")), FormatOf(values)});
}

int RunAttention(const FlagValues& values) {
  BenchAttentionOptions options;
  if (!values.Has("problem")) {
    throw Error(ErrorKind::kUsage, "no problem: give a line such as \"bf16 b1 h24/24 d128 q4096 kv4096 mask=none\"");
  }
  options.problems = values.Strings("problem");
  for (const std::string& names : values.Strings("backend")) {
    for (const std::string& name : Split(names, ',')) options.backends.push_back(name);
  }
  options.runs = static_cast<int>(values.Int("runs"));
  options.format = FormatOf(values);
  options.plot = values.String("plot");
  if (values.Has("attention-backend-config")) {
    options.options = ParseBackendOptions(values.String("attention-backend-config"));
  }
  const auto registry = RegistryOf(values);
  options.registry = registry.get();
  return BenchAttention(options);
}

BenchLayersOptions LayersOptions(const FlagValues& values) {
  return {values.Has("problem") ? values.Strings("problem") : std::vector<std::string>{},
          static_cast<int>(values.Int("runs")), FormatOf(values)};
}
int RunLinear(const FlagValues& values) { return BenchLinear(LayersOptions(values)); }
int RunConvolution(const FlagValues& values) { return BenchConvolution(LayersOptions(values)); }

struct Subject {
  const char* name;
  const FlagTable& table;
  int (*run)(const FlagValues&);
};
constexpr Subject kSubjects[] = {{"machine", kMachineTable, RunMachine},
                                 {"attention", kAttentionTable, RunAttention},
                                 {"linear", kLinearTable, RunLinear},
                                 {"convolution", kConvolutionTable, RunConvolution}};

std::string Usage() {
  std::string text = "usage: tessera bench SUBJECT [FLAGS]\n\n";
  for (const Subject& subject : kSubjects) text += fmt::format("  {:<14}{}\n", subject.name, subject.table.summary);
  return text;
}

}  // namespace

int BenchCommand(Arguments arguments) {
  if (!arguments.empty() && (arguments[0] == "--help" || arguments[0] == "-h")) {
    std::fputs(Usage().c_str(), stdout);
    return 0;
  }
  for (const Subject& subject : kSubjects) {
    if (arguments.empty() || arguments[0] != subject.name) continue;
    const FlagValues values = ParseFlags(subject.table, arguments.subspan(1));
    if (values.help_wanted()) {
      std::fputs(FlagHelp(subject.table).c_str(), stdout);
      return 0;
    }
    ApplyIsaChoice(values.String("isa"));
    SetThreads(static_cast<int>(values.Int("threads", 0)));
    return subject.run(values);
  }
  throw Error(ErrorKind::kUsage,
              fmt::format("bench {}: unknown; machine, attention, linear and convolution can be measured",
                          arguments.empty() ? "" : Printable(arguments[0])));
}

}  // namespace tessera
