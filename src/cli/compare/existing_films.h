// A comparison of films and pictures that are there already.
#pragma once
#include <string>
#include <vector>

#include "cli/compare/comparison.h"

namespace tessera {

// A column per path, the first is the reference; columns are named by the files where that tells them apart, else by
// the paths. Throws Error{kUsage}: fewer than two, one twice, sizes or numbers of frames that differ; and what
// ReadFilm throws.
Comparison ReadExistingFilms(const std::vector<std::string>& paths);

}  // namespace tessera
