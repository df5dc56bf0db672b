// tessera make-random-model: a folder of real size to measure with, when the real weights are not at hand.
#include <cstdio>

#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "base/table.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/random_model/design.h"
#include "cli/random_model/write_model.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr Flag kFlags[] = {
    {"like", FlagKind::kString, "whose size: a name of --list", "flux2-klein-4b", "", "", "NAME"},
    {"output", FlagKind::kStrings, "the new folder", "", "", "", "FOLDER"},
    {"list", FlagKind::kBool, "print the names, with the parameters and bytes of their weights, and write nothing"},
    {"markdown", FlagKind::kBool, "with --list: print Markdown"},
    {"dtype", FlagKind::kChoice, "type of the weights; Wan's vae is fp32 as published", "bf16", "", "bf16|fp16|fp32"},
    {"seed", FlagKind::kInt, "seed of the weights", "0", "", "", "", "", 0, 9007199254740992.0},
    {"layers", FlagKind::kInt, "blocks of Wan's transformers", "", "the model's own", "", "", "", 1, 100},
    {"double-blocks", FlagKind::kInt, "double-stream blocks of FLUX.2's transformer", "", "the model's own", "", "", "",
     1, 100},
    {"single-blocks", FlagKind::kInt, "single-stream blocks of FLUX.2's transformer", "", "the model's own", "", "", "",
     1, 100},
    {"text-layers", FlagKind::kInt, "layers of the text encoder; FLUX.2 needs those up to the last tap", "",
     "the model's own; FLUX.2 klein: one more than the last tap, 28", "", "", "", 1, 100},
    {"shard-bytes", FlagKind::kInt, "largest weight file", "5368709120", "", "", "", "", 4096, 1e15},
    {"threads", FlagKind::kInt, "threads", "", "all cores", "", "", "", 1, 4096},
};
constexpr FlagGroup kGroups[] = {{"Flags", kFlags}};
constexpr FlagTable kTable{"tessera make-random-model", "write a model folder of real size with random weights",
                           kGroups, "output"};
constexpr const char* kLayerFlags[] = {"layers", "double-blocks", "single-blocks", "text-layers"};
constexpr const char* kFlagsOfOneModel[] = {"like",          "output",        "seed",        "layers",
                                            "double-blocks", "single-blocks", "text-layers", "shard-bytes"};

LayerCounts AskedLayers(const FlagValues& values) {
  LayerCounts asked;
  for (const char* flag : kLayerFlags) {
    if (values.Has(flag)) asked[flag] = values.Int(flag);
  }
  return asked;
}

DType AskedDType(const FlagValues& values) { return *ParseDType(values.String("dtype")); }

std::string FormatCount(double count) {
  return count < 1e9 ? fmt::format("{:.2f} million", count * 1e-6) : fmt::format("{:.2f} billion", count * 1e-9);
}

std::string DesignTable(const FlagValues& values) {
  std::vector<TableRow> rows = {{"name", "parameters", "weights", "what it is"}};
  for (const RandomDesign& design : RandomDesigns()) {
    const ModelContents contents = design.contents(ChooseLayers(design, {}), AskedDType(values));
    rows.push_back({design.name, FormatCount(static_cast<double>(CountElements(contents))),
                    FormatBytes(static_cast<double>(CountBytes(contents))), design.summary});
  }
  return PrintTable(rows, values.Bool("markdown") ? TableFormat::kMarkdown : TableFormat::kText);
}

bool IsGiven(const FlagValues& values, const char* flag) {
  return values.Has(flag) && values.GivenBy(flag) != FlagSource::kDefault;
}

void CheckFlags(const FlagValues& values) {
  const bool is_list = values.Bool("list");
  if (values.Bool("markdown") && !is_list) throw Error(ErrorKind::kUsage, "--markdown: needs --list");
  for (const char* flag : kFlagsOfOneModel) {
    if (is_list && IsGiven(values, flag)) throw Error(ErrorKind::kUsage, fmt::format("--{}: not with --list", flag));
  }
  if (!is_list && (!values.Has("output") || values.Strings("output").size() != 1)) {
    throw Error(ErrorKind::kUsage, "--output: give one folder to write the model to");
  }
}

void Write(const FlagValues& values) {
  const RandomDesign design = FindRandomDesign(values.String("like"));
  const ModelContents contents = design.contents(ChooseLayers(design, AskedLayers(values)), AskedDType(values));
  const RandomWeights weights = {static_cast<uint64_t>(values.Int("seed")),
                                 static_cast<size_t>(values.Int("shard-bytes"))};
  const std::string folder = values.Strings("output").front();
  Log(LogLevel::kInfo,
      fmt::format("writing {} to {}", FormatBytes(static_cast<double>(CountBytes(contents))), Printable(folder)));
  WriteRandomModel(contents, weights, folder);
  std::fputs((folder + "\n").c_str(), stdout);
}

}  // namespace

int MakeRandomModelCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(kTable, arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(kTable).c_str(), stdout);
    return 0;
  }
  CheckFlags(values);
  SetThreads(static_cast<int>(values.Int("threads", 0)));
  if (values.Bool("list")) {
    std::fputs(DesignTable(values).c_str(), stdout);
  } else {
    Write(values);
  }
  return 0;
}

}  // namespace tessera
