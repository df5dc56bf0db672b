#include "cli/random_model/design.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {

#define X(name) extern const RandomDesignFamily name##_random_design;
#include "random_design.inc"
#undef X

namespace {

#define X(name) &name##_random_design,
constexpr auto kFamilies = std::to_array<const RandomDesignFamily*>({
#include "random_design.inc"
});
#undef X

[[noreturn]] void Refuse(const std::string& flag, int64_t count, const std::string& reason) {
  throw Error(ErrorKind::kUsage, fmt::format("--{} {}: {}", flag, count, reason));
}

void CheckCount(const RandomDesign& design, const LayerChoice& choice, int64_t count) {
  if (count < choice.least) {
    const std::string why = choice.why_least.empty() ? fmt::format("needs {}", choice.least) : choice.why_least;
    Refuse(choice.flag, count, fmt::format("too few, {} {}", design.name, why));
  }
  if (count > choice.most) Refuse(choice.flag, count, fmt::format("too many, {} has {}", design.name, choice.most));
}

void CheckFlags(const RandomDesign& design, const LayerCounts& asked) {
  std::vector<std::string> known;
  for (const LayerChoice& choice : design.layers) known.push_back("--" + choice.flag);
  for (const auto& [flag, count] : asked) {
    if (std::find(known.begin(), known.end(), "--" + flag) != known.end()) continue;
    Refuse(flag, count, fmt::format("{} has no such layers; it has {}", design.name, Join(known, ", ")));
  }
}

}  // namespace

std::vector<RandomDesign> RandomDesigns() {
  std::vector<RandomDesign> all;
  for (const RandomDesignFamily* family : kFamilies) {
    for (RandomDesign& design : family->designs()) all.push_back(std::move(design));
  }
  return all;
}

RandomDesign FindRandomDesign(const std::string& name) {
  std::vector<std::string> known;
  for (RandomDesign& design : RandomDesigns()) {
    if (design.name == Lower(name)) return std::move(design);
    known.push_back(design.name);
  }
  throw Error(ErrorKind::kUsage, fmt::format("--like {}: unknown; known: {}", Printable(name), Join(known, ", ")));
}

LayerCounts ChooseLayers(const RandomDesign& design, const LayerCounts& asked) {
  CheckFlags(design, asked);
  LayerCounts counts;
  for (const LayerChoice& choice : design.layers) {
    const auto wanted = asked.find(choice.flag);
    counts[choice.flag] = wanted != asked.end() ? wanted->second : choice.own;
    CheckCount(design, choice, counts[choice.flag]);
  }
  return counts;
}

}  // namespace tessera
