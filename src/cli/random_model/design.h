// The models that can be written with random weights. One file in designs/ per family of models.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cli/random_model/model_contents.h"

namespace tessera {

// A number of layers that a user may choose.
struct LayerChoice {
  std::string flag;  // "text-layers"
  int64_t own;       // without a choice
  int64_t least, most;
  std::string why_least{};  // "reads the output of layer 27": what follows the model's name
};

using LayerCounts = std::map<std::string, int64_t, std::less<>>;  // by flag

struct RandomDesign {
  std::string name;     // "wan2.1-t2v-1.3b"
  std::string summary;  // a few words
  std::vector<LayerChoice> layers;
  // `counts` has every flag of `layers`; `dtype` is that of the weights whose type is not fixed.
  std::function<ModelContents(const LayerCounts& counts, DType dtype)> contents;
};

struct RandomDesignFamily {
  std::vector<RandomDesign> (*designs)();
};

std::vector<RandomDesign> RandomDesigns();

// In any case of letters. Throws Error{kUsage}.
RandomDesign FindRandomDesign(const std::string& name);

// Those asked for, the model's own for the others. Throws Error{kUsage} for a flag that the model does not have and for
// a number it does not take.
LayerCounts ChooseLayers(const RandomDesign& design, const LayerCounts& asked);

}  // namespace tessera
