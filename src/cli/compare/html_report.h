// A comparison as one web page that needs nothing beside it.
#pragma once
#include <string>

#include "cli/compare/comparison.h"

namespace tessera {

// The table, then every picture and its difference from the first column, embedded; films as players with curves.
std::string HtmlReport(const Comparison& comparison, const std::vector<BackendScore>& scores);

}  // namespace tessera
