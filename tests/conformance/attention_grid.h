// The problems every backend is held to.
#pragma once
#include <string>
#include <vector>

#include "conformance/attention_case.h"

namespace tessera {

// Drawn from fixed seeds: lengths around powers of two and primes, grouped heads, all masks and their combinations,
// strides, value distributions and block plans.
std::vector<CaseSpec> AttentionGrid(int cases);

// Self attention over films and pictures with text before and behind: what planners are made for. Grids that no tile
// divides, lengths of text, all that planners may refuse among them.
std::vector<CaseSpec> FilmGrid(int cases);

// The lines of a file of problems, without comments and empty lines. Throws Error{kIo}.
std::vector<std::string> ProblemLines(const std::string& path);

}  // namespace tessera
