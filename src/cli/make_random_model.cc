// tessera make-random-model: a folder of real size to measure with, when the real weights are not at hand.
#include <cstdio>

#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/random_model/write_model.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr Flag kFlags[] = {
    {"like", FlagKind::kString, "whose size: flux2-klein-4b, flux2-klein-9b, flux2-klein-tiny", "flux2-klein-4b", "",
     "", "NAME"},
    {"output", FlagKind::kStrings, "the new folder", "", "", "", "FOLDER"},
    {"dtype", FlagKind::kChoice, "type of the weights", "bf16", "", "bf16|fp16|fp32"},
    {"seed", FlagKind::kInt, "seed of the weights", "0", "", "", "", "", 0, 9007199254740992.0},
    {"double-blocks", FlagKind::kInt, "double-stream blocks of the transformer", "", "the model's own", "", "", "", 1,
     100},
    {"single-blocks", FlagKind::kInt, "single-stream blocks of the transformer", "", "the model's own", "", "", "", 1,
     100},
    {"text-layers", FlagKind::kInt, "layers of the text encoder; Qwen3 has 36, pictures need those up to the last tap",
     "", "one more than the last tap: 28", "", "", "", 1, 100},
    {"shard-bytes", FlagKind::kInt, "largest weight file", "5368709120", "", "", "", "", 4096, 1e15},
    {"threads", FlagKind::kInt, "threads", "", "all cores", "", "", "", 1, 4096},
};
constexpr FlagGroup kGroups[] = {{"Flags", kFlags}};
constexpr FlagTable kTable{"tessera make-random-model", "write a model folder of real size with random weights",
                           kGroups, "output"};

const KleinSize& FindSize(const std::string& name) {
  std::vector<std::string> known;
  for (const KleinSize& size : KleinSizes()) {
    if (size.name == Lower(name)) return size;
    known.emplace_back(size.name);
  }
  throw Error(ErrorKind::kUsage, fmt::format("--like {}: unknown; known: {}", Printable(name), Join(known, ", ")));
}

KleinSize SizeOf(const FlagValues& values) {
  KleinSize size = FindSize(values.String("like"));
  size.double_blocks = values.Int("double-blocks", size.double_blocks);
  size.single_blocks = values.Int("single-blocks", size.single_blocks);
  size.text_layers = values.Int("text-layers", size.text_taps.back() + 1);
  if (size.text_layers < size.text_taps.back()) {
    throw Error(ErrorKind::kUsage, fmt::format("--text-layers {}: too few, {} reads the output of layer {}",
                                               size.text_layers, size.name, size.text_taps.back()));
  }
  return size;
}

}  // namespace

int MakeRandomModelCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(kTable, arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(kTable).c_str(), stdout);
    return 0;
  }
  SetThreads(static_cast<int>(values.Int("threads", 0)));
  if (!values.Has("output") || values.Strings("output").size() != 1) {
    throw Error(ErrorKind::kUsage, "--output: give one folder to write the model to");
  }
  const RandomModel model{SizeOf(values), *ParseDType(values.String("dtype")),
                          static_cast<uint64_t>(values.Int("seed")), static_cast<size_t>(values.Int("shard-bytes"))};
  const std::string folder = values.Strings("output").front();
  Log(LogLevel::kInfo,
      fmt::format("writing {} to {}", FormatBytes(static_cast<double>(WeightBytes(model))), Printable(folder)));
  WriteRandomModel(model, folder);
  std::fputs((folder + "\n").c_str(), stdout);
  return 0;
}

}  // namespace tessera
