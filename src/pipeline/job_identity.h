// What two runs must share to make the same bytes.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "pipeline/run_state.h"

namespace tessera {

// Names as users know them ("seed", "vae/config.json") with values as text; where jobs differ, earlier rows tell more.
using JobIdentity = std::vector<std::pair<std::string, std::string>>;

// Of a prepared run. Reads the model's files.
JobIdentity IdentityOf(const RunState& run);

// One line naming the first value that differs, "" when none does: "seed is 43 here and was 42".
std::string FirstDifference(const JobIdentity& here, const JobIdentity& before);

}  // namespace tessera
