// Who would serve which site at which step, and why, without running anything.
#pragma once
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "attention/layer.h"
#include "base/table.h"

namespace tessera {

// A backend at a site over neighbouring steps.
struct SelectedSite {
  SiteProblem wanted;
  int first_step = -1, last_step = -1;  // -1: outside of denoising
  Selection selection;
  Options options;              // completed with defaults
  std::vector<double> density;  // expected share of the query-key pairs, by step; one element outside of denoising
  double speed = 1;             // of the kernel, relative to other backends
};

// Selects for every site and each of `steps` steps (0: not known). Plans where a planner decides, for its densities.
// Throws Error{kUnsupported, kUsage} as AttentionContext::Prepare would.
std::vector<SelectedSite> SelectSites(const std::vector<SiteProblem>& sites, const Device& device,
                                      const AttentionSchedule& schedule, int steps = 0,
                                      const AttentionRegistry& registry = AttentionRegistry::BuiltIn());

// Sites that differ in the layer only are one row: "transformer.joint.0-4". Columns: site, steps, problem, backend,
// why, density, cost (operations that remain, at the speed of the default backend), why not the others. Below it, where
// the density differs between steps or layers, a table of both.
std::string PrintSelections(std::span<const SelectedSite> sites, TableFormat format);
nlohmann::json SelectionsToJson(std::span<const SelectedSite> sites);

// "0-3, 7"
std::string PrintRanges(std::span<const int> places);

}  // namespace tessera
