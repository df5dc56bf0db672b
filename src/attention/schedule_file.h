// Attention schedules as people write them: --attention-schedule and the overrides of single components.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "attention/schedule.h"

namespace tessera {

// A .json, .yaml or .yml file, or the JSON text itself. Throws Error{kUsage, kIo, kFormat}.
nlohmann::json ReadScheduleTree(const std::string& given);

// A list of rules, or {"rules": [...]}. A rule is an object with `backend` (a name, names separated by commas, or a
// list) and, as wanted, `component`, `role`, `layers`, `steps` (see ParsePlaceRanges; numbers and lists work, too),
// `config` (an object or what --attention-backend-config takes) and `fidelity` (what "auto" may take). Components and
// roles may be lists. Throws Error{kUsage} that names `source` and the rule.
std::vector<ScheduleRule> ParseScheduleRules(const nlohmann::json& tree, std::string_view source,
                                             const AttentionRegistry& registry = AttentionRegistry::BuiltIn());

// "component" or "component.role" -> backend names: rules whose source is ChoiceSource::kComponent. `options` go to the
// backends that know them. Throws Error{kUsage}.
std::vector<ScheduleRule> ParseComponentOverrides(const std::map<std::string, std::string>& overrides,
                                                  const Options& options,
                                                  const AttentionRegistry& registry = AttentionRegistry::BuiltIn());

// "exact", "quantized" or "sparse". Throws Error{kUsage}.
Fidelity ParseFidelity(std::string_view word, std::string_view source);

}  // namespace tessera
