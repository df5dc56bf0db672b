// The films of a comparison as strips of frames below each other.
#pragma once
#include "cli/compare/comparison.h"

namespace tessera {

constexpr size_t kSheetFrames = 6;  // of a film, at most

// A block per prompt and seed; in it a row per column of the comparison that served and a column per frame, spread
// evenly from the first to the last. Below each row but the first: what differs from the first one. As many blocks as
// fit into a picture of reasonable size; the last line says when some are left out.
Picture DrawFilmSheet(const Comparison& comparison, const std::vector<BackendScore>& scores);

}  // namespace tessera
