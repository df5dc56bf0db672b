#include "attention/schedule.h"

#include <algorithm>

#include <fmt/format.h>

#include "attention/registry.h"
#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

// Components that denoise; a model with two experts has both.
constexpr std::string_view kDenoisers[] = {"transformer", "transformer_2"};

bool Matches(const ScheduleRule& rule, const AttentionSite& site) {
  return (!rule.component || *rule.component == site.component) && (!rule.role || *rule.role == site.role) &&
         (rule.layers.empty() || std::find(rule.layers.begin(), rule.layers.end(), site.layer) != rule.layers.end());
}

}  // namespace

std::vector<std::string> ParseBackendNames(const std::string& names, const AttentionRegistry& registry) {
  std::vector<std::string> parsed;
  for (const std::string& part : Split(names, ',')) {
    const std::string name = Lower(Trim(part));
    if (name.empty()) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("attention backends '{}': a name is empty, wanted names separated by commas "
                              "such as 'fa,auto'",
                              Printable(names)));
    }
    parsed.emplace_back(name == "auto" ? name : std::string(registry.Find(name).name));
  }
  return parsed;
}

std::string AttentionSite::ToString() const { return fmt::format("{}.{}.{}", component, Name(role), layer); }

AttentionSchedule AttentionSchedule::FromBackendNames(const std::string& names, ChoiceSource source,
                                                      Fidelity auto_fidelity, const Options& options,
                                                      const AttentionRegistry& registry) {
  AttentionRequest preferred{ParseBackendNames(names, registry), source, auto_fidelity, {}};
  AttentionRequest bound = preferred;
  bound.options = options;
  preferred.names.emplace_back("auto");
  AttentionSchedule schedule;
  for (const std::string_view denoiser : kDenoisers) {
    for (const AttentionRole role : {AttentionRole::kSelf, AttentionRole::kJoint}) {
      schedule.Add({std::string(denoiser), role, {}, bound});
    }
    schedule.Add({std::string(denoiser), std::nullopt, {}, preferred});
  }
  return schedule;
}

void AttentionSchedule::Add(ScheduleRule rule) {
  const auto at = std::upper_bound(
      rules_.begin(), rules_.end(), rule,
      [](const ScheduleRule& a, const ScheduleRule& b) { return a.request.source < b.request.source; });
  rules_.insert(at, std::move(rule));
}

AttentionRequest AttentionSchedule::RequestFor(const AttentionSite& site, int /*step*/) const {
  for (const ScheduleRule& rule : rules_) {
    if (Matches(rule, site)) return rule.request;
  }
  return {};
}

}  // namespace tessera
