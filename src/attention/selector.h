// Which backend serves a problem: a pure function of its arguments.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "attention/backend.h"
#include "attention/registry.h"

namespace tessera {

// Where a choice came from, in falling order of precedence.
enum class ChoiceSource { kForced, kComponent, kSchedule, kCommandLine, kModel, kAuto };
std::string_view Name(ChoiceSource source) noexcept;  // "forced", "component override", "--attention-backend", ...

// What was asked for a site: names in order of preference ("auto" among them allowed). Every name takes those of
// `options` that it knows; what auto finds runs with its defaults.
struct AttentionRequest {
  std::vector<std::string> names = {"auto"};
  ChoiceSource source = ChoiceSource::kAuto;
  Fidelity fidelity = Fidelity::kExact;  // what "auto" may take
  Options options;
  int rule = 0;  // number of the rule in its file, from 1; 0: none
};

struct Rejection {
  const AttentionBackend* backend;
  std::vector<std::string_view> reasons;
};

struct Selection {
  const AttentionBackend* backend = nullptr;
  std::string why;  // "fastest exact", "asked for by --attention-backend", ...
  std::vector<Rejection>
      rejected;  // every other backend of the registry with its reasons ("slower", "changes the picture", ...)
};

// Throws Error{kUnsupported} when nothing that was asked can serve; the message names the site, the problem, the
// reasons and what would work. `site` is used in messages only.
Selection Select(const AttentionProblem& problem, const Device& device, const AttentionRequest& request,
                 const AttentionRegistry& registry, std::string_view site);

}  // namespace tessera
