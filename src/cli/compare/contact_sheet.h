// The pictures of a comparison side by side, with what differs from the first column below.
#pragma once
#include "cli/compare/comparison.h"

namespace tessera {

constexpr int kDifferenceGain = 8;  // of difference pictures

// A row per prompt and seed, a column per backend that served; films as film_sheet.h says. As many rows as fit into a
// picture of reasonable size; the last line says when some are left out.
Picture DrawContactSheet(const Comparison& comparison, const std::vector<BackendScore>& scores);

}  // namespace tessera
