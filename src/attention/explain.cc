#include "attention/explain.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "attention/option_text.h"
#include "attention/request_options.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr size_t kMostColumns = 16;  // of a density table

// Plans of backends with a planner, shared by the sites that pose the same problem.
class DensityPlans {
 public:
  DensityPlans(const Device& device, DenoisingOutline outline) : device_(device), outline_(std::move(outline)) {}

  // Null: dense.
  const AttentionPlan* PlanFor(const AttentionProblem& problem, const AttentionBackend& backend,
                               const Options& options) {
    if (backend.planner == nullptr) return nullptr;
    for (const Planned& planned : plans_) {
      if (planned.backend == &backend && planned.problem == problem && planned.options == options) {
        return planned.plan.get();
      }
    }
    plans_.push_back({problem, &backend, options, MakePlan(backend, problem, device_, options)});
    plans_.back().plan->BeginRequest(outline_);
    return plans_.back().plan.get();
  }

 private:
  struct Planned {
    AttentionProblem problem;
    const AttentionBackend* backend;
    Options options;
    std::unique_ptr<AttentionPlan> plan;
  };

  const Device& device_;
  DenoisingOutline outline_;
  std::vector<Planned> plans_;
};

AttentionProblem WithoutPlace(AttentionProblem problem) {
  problem.step = problem.layer = -1;
  return problem;
}

// The speed of what walks the plan: a planner's own estimate holds its default density already.
double KernelSpeed(const AttentionBackend& backend, const AttentionProblem& problem, const Device& device) {
  if (backend.kernel == nullptr) return SpeedOf(backend, problem, device);
  AttentionProblem walked = problem;
  walked.has_gate = false;
  walked.grid.reset();
  return SpeedOf(*backend.kernel, walked, device);
}

int LayersOf(const std::vector<SiteProblem>& sites, const std::string& component) {
  int layers = 0;
  for (const SiteProblem& site : sites) {
    if (site.site.component == component) layers = std::max(layers, site.site.layer + 1);
  }
  return layers;
}

double Mean(std::span<const double> values) {
  return values.empty() ? 1 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

bool SameReasons(const std::vector<Rejection>& a, const std::vector<Rejection>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Rejection& x, const Rejection& y) {
    return x.backend == y.backend && x.reasons == y.reasons;
  });
}

bool SameButForLayer(const SelectedSite& a, const SelectedSite& b) {
  return a.wanted.site.component == b.wanted.site.component && a.wanted.site.role == b.wanted.site.role &&
         a.first_step == b.first_step && a.last_step == b.last_step &&
         WithoutPlace(a.wanted.problem) == WithoutPlace(b.wanted.problem) &&
         a.selection.backend == b.selection.backend && a.selection.why == b.selection.why && a.options == b.options &&
         SameReasons(a.selection.rejected, b.selection.rejected);
}

using Group = std::vector<const SelectedSite*>;

// Sites that are one row, in the order of their first.
std::vector<Group> Groups(std::span<const SelectedSite> sites) {
  std::vector<Group> groups;
  for (const SelectedSite& site : sites) {
    const auto same =
        std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return SameButForLayer(*g.front(), site); });
    if (same != groups.end()) {
      same->push_back(&site);
    } else {
      groups.push_back({&site});
    }
  }
  return groups;
}

std::vector<int> LayersOf(const Group& group) {
  std::vector<int> layers;
  for (const SelectedSite* site : group) layers.push_back(site->wanted.site.layer);
  std::sort(layers.begin(), layers.end());
  return layers;
}

double MeanDensity(const Group& group) {
  std::vector<double> all;
  for (const SelectedSite* site : group) all.push_back(Mean(site->density));
  return Mean(all);
}

// Of all steps and layers of the group.
double DenseFlops(const Group& group) {
  return group.front()->wanted.problem.flops() * static_cast<double>(group.size() * group.front()->density.size());
}

double Cost(const Group& group) {
  const double speed = group.front()->speed;
  return speed > 0 ? DenseFlops(group) * MeanDensity(group) / speed : 0;
}

std::string StepsText(const SelectedSite& site) {
  if (site.first_step < 0) return "-";
  return site.first_step == site.last_step ? std::to_string(site.first_step)
                                           : fmt::format("{}-{}", site.first_step, site.last_step);
}

std::string BackendText(const SelectedSite& site) {
  const std::string options = PrintOptions(*site.selection.backend, site.options);
  return options.empty() ? std::string(site.selection.backend->name)
                         : fmt::format("{} ({})", site.selection.backend->name, options);
}

std::string RejectedText(const std::vector<Rejection>& rejected) {
  std::vector<std::string> parts;
  for (const Rejection& rejection : rejected) {
    parts.push_back(fmt::format("{}: {}", rejection.backend->name, fmt::join(rejection.reasons, ", ")));
  }
  return parts.empty() ? "-" : Join(parts, "; ");
}

std::string SiteText(const Group& group) {
  const AttentionSite& site = group.front()->wanted.site;
  return fmt::format("{}.{}.{}", site.component, Name(site.role), PrintRanges(LayersOf(group)));
}

bool DensityDiffers(const Group& group) {
  const double first = group.front()->density.front();
  return std::any_of(group.begin(), group.end(), [&](const SelectedSite* site) {
    return std::any_of(site->density.begin(), site->density.end(), [&](double density) { return density != first; });
  });
}

// Neighbouring places with equal rows (or columns) of a table.
template <class Equal>
std::vector<std::pair<size_t, size_t>> Runs(size_t count, Equal equal) {
  std::vector<std::pair<size_t, size_t>> runs;
  for (size_t i = 0; i < count; ++i) {
    if (!runs.empty() && equal(runs.back().first, i)) {
      runs.back().second = i;
    } else {
      runs.emplace_back(i, i);
    }
  }
  return runs;
}

std::string RangeText(int first, int last) {
  return first == last ? std::to_string(first) : fmt::format("{}-{}", first, last);
}

// Steps down, layers across; neighbours with the same densities are one row or column.
std::string DensityTable(const Group& group, TableFormat format) {
  const SelectedSite& first = *group.front();
  const auto step_runs = Runs(first.density.size(), [&](size_t a, size_t b) {
    return std::all_of(group.begin(), group.end(),
                       [&](const auto* site) { return site->density[a] == site->density[b]; });
  });
  const auto layer_runs = Runs(group.size(), [&](size_t a, size_t b) {
    return group[a]->density == group[b]->density && group[b]->wanted.site.layer == group[b - 1]->wanted.site.layer + 1;
  });
  std::string text;
  for (size_t begin = 0; begin < layer_runs.size(); begin += kMostColumns) {
    const size_t end = std::min(begin + kMostColumns, layer_runs.size());
    std::vector<TableRow> rows = {{"density, step"}};
    for (size_t c = begin; c < end; ++c) {
      rows[0].push_back("layer " + RangeText(group[layer_runs[c].first]->wanted.site.layer,
                                             group[layer_runs[c].second]->wanted.site.layer));
    }
    for (const auto& [a, b] : step_runs) {
      const int base = std::max(first.first_step, 0);
      rows.push_back({RangeText(base + static_cast<int>(a), base + static_cast<int>(b))});
      for (size_t c = begin; c < end; ++c) {
        rows.back().push_back(fmt::format("{:.4f}", group[layer_runs[c].first]->density[a]));
      }
    }
    text += "\n" + PrintTable(rows, format);
  }
  return text;
}

nlohmann::json GroupToJson(const Group& group) {
  const SelectedSite& first = *group.front();
  nlohmann::json rejected = nlohmann::json::object(), table = nlohmann::json::array();
  for (const Rejection& rejection : first.selection.rejected) {
    rejected[std::string(rejection.backend->name)] = rejection.reasons;
  }
  for (size_t step = 0; step < first.density.size(); ++step) {
    nlohmann::json row = nlohmann::json::array();
    for (const SelectedSite* site : group) row.push_back(site->density[step]);
    table.push_back(std::move(row));
  }
  nlohmann::json layers = nlohmann::json::array();
  for (const SelectedSite* site : group) layers.push_back(site->wanted.site.layer);
  nlohmann::json json = {{"component", first.wanted.site.component},
                         {"role", Name(first.wanted.site.role)},
                         {"layers", std::move(layers)},
                         {"problem", Print(WithoutPlace(first.wanted.problem))},
                         {"backend", first.selection.backend->name},
                         {"config", OptionsToJson(first.options)},
                         {"why", first.selection.why},
                         {"density", MeanDensity(group)},
                         {"flops", DenseFlops(group)},
                         {"cost", Cost(group)},
                         {"rejected", std::move(rejected)}};
  if (first.first_step >= 0) json["steps"] = {first.first_step, first.last_step};
  if (DensityDiffers(group)) json["density_by_step_and_layer"] = std::move(table);
  return json;
}

// Selects at one site, step by step.
class SiteSelector {
 public:
  SiteSelector(const Device& device, const AttentionSchedule& schedule, const AttentionRegistry& registry)
      : device_(device), schedule_(schedule), registry_(registry) {}

  std::vector<SelectedSite> Select(const SiteProblem& wanted, const ScheduleExtent& extent, DensityPlans& plans) const {
    const int steps = IsDenoiser(wanted.site.component) ? extent.steps : 0;
    std::vector<SelectedSite> selected;
    const ScheduleRule* last_rule = nullptr;
    for (int step = 0; step < std::max(steps, 1); ++step) {
      const int place = steps == 0 ? -1 : step;
      const ScheduleRule* rule = schedule_.RuleFor(wanted.site, place, {extent.layers, steps});
      if (selected.empty() || rule != last_rule) selected.push_back(Choose(wanted, rule, place));
      last_rule = rule;
      SelectedSite& current = selected.back();
      current.last_step = place;
      const AttentionPlan* plan =
          plans.PlanFor(WithoutPlace(wanted.problem), *current.selection.backend, current.options);
      current.density.push_back(plan == nullptr ? 1 : plan->ExpectedDensity(place, wanted.site.layer));
    }
    return selected;
  }

 private:
  SelectedSite Choose(const SiteProblem& wanted, const ScheduleRule* rule, int step) const {
    const AttentionRequest request = rule == nullptr ? AttentionRequest{} : rule->request;
    SelectedSite chosen{wanted, step, step, {}, {}, {}, 1};
    chosen.selection = tessera::Select(wanted.problem, device_, request, registry_, wanted.site.ToString());
    chosen.options = OptionsFor(*chosen.selection.backend, request, registry_);
    chosen.speed = KernelSpeed(*chosen.selection.backend, wanted.problem, device_);
    return chosen;
  }

  const Device& device_;
  const AttentionSchedule& schedule_;
  const AttentionRegistry& registry_;
};

}  // namespace

std::string PrintRanges(std::span<const int> places) {
  std::vector<std::string> parts;
  for (const auto& [a, b] : Runs(places.size(), [&](size_t first, size_t next) {
         return places[next] == places[first] + static_cast<int>(next - first);
       })) {
    parts.push_back(RangeText(places[a], places[b]));
  }
  return Join(parts, ",");
}

std::vector<SelectedSite> SelectSites(const std::vector<SiteProblem>& sites, const Device& device,
                                      const AttentionSchedule& schedule, int steps, const AttentionRegistry& registry) {
  int most_layers = 0;
  for (const SiteProblem& wanted : sites) most_layers = std::max(most_layers, wanted.site.layer + 1);
  DensityPlans plans(device, {.steps = steps, .layers = most_layers});
  const SiteSelector selector(device, schedule, registry);
  std::vector<SelectedSite> selected;
  for (const SiteProblem& wanted : sites) {
    const ScheduleExtent extent{LayersOf(sites, wanted.site.component), steps};
    for (SelectedSite& choice : selector.Select(wanted, extent, plans)) selected.push_back(std::move(choice));
  }
  return selected;
}

std::string PrintSelections(std::span<const SelectedSite> sites, TableFormat format) {
  std::vector<TableRow> rows = {
      {"site", "steps", "problem", "backend", "why", "density", "cost", "why not the others"}};
  std::string densities;
  for (const Group& group : Groups(sites)) {
    const SelectedSite& first = *group.front();
    rows.push_back({SiteText(group), StepsText(first), Print(WithoutPlace(first.wanted.problem)), BackendText(first),
                    first.selection.why, fmt::format("{:.3g}", MeanDensity(group)),
                    fmt::format("{:.4g} GFLOP", Cost(group) / 1e9), RejectedText(first.selection.rejected)});
    if (DensityDiffers(group)) densities += "\n" + SiteText(group) + "\n" + DensityTable(group, format);
  }
  return PrintTable(rows, format) + densities;
}

nlohmann::json SelectionsToJson(std::span<const SelectedSite> sites) {
  nlohmann::json list = nlohmann::json::array();
  for (const Group& group : Groups(sites)) list.push_back(GroupToJson(group));
  return list;
}

}  // namespace tessera
