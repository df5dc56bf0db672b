// The settings of a prepared run, as its outputs keep them and as going on with it asks for them again.
#pragma once
#include <map>
#include <string>

#include "pipeline/run_state.h"

namespace tessera {

// By flag name, as the run has them after the model's defaults; beyond prompt, seed, size, steps and guidance scale,
// which every output has in places of their own. What was left at "none" is absent.
std::map<std::string, std::string> JobSettings(const RunState& run);

}  // namespace tessera
