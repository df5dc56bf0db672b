// What the command line prints about attention: the data sheets of the backends, and who serves which site and why.
#pragma once
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "attention/layer.h"

namespace tessera {

enum class ReportFormat { kText, kMarkdown };

// One row per backend: names, devices, dtypes, head dims, masks, abilities, fidelity, options.
std::string PrintBackends(std::span<const AttentionBackend* const> backends, ReportFormat format);
nlohmann::json BackendsToJson(std::span<const AttentionBackend* const> backends);

struct SelectedSite {
  SiteProblem wanted;
  Selection selection;
};

// Selects without planning. Throws Error{kUnsupported} as AttentionContext::Prepare would.
std::vector<SelectedSite> SelectSites(const std::vector<SiteProblem>& sites, const Device& device,
                                      const AttentionSchedule& schedule,
                                      const AttentionRegistry& registry = AttentionRegistry::BuiltIn());

// Neighbouring sites that differ in the layer only are one row: "transformer.joint x5". Columns: site, problem,
// backend, why, why not the others.
std::string PrintSelections(std::span<const SelectedSite> sites, ReportFormat format);
nlohmann::json SelectionsToJson(std::span<const SelectedSite> sites);

// What ran: site, problem, backend, why, calls, seconds, operations per second (dense count).
std::string PrintRecords(std::span<const AttentionRecord> records, ReportFormat format);
nlohmann::json RecordsToJson(std::span<const AttentionRecord> records);

}  // namespace tessera
