// Which request applies at which site: component, role, layer and step. First matching rule wins.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "attention/selector.h"

namespace tessera {

// Names separated by commas, lower case, each known ("auto" included). Throws Error{kUsage} naming the wrong one.
std::vector<std::string> ParseBackendNames(const std::string& names,
                                           const AttentionRegistry& registry = AttentionRegistry::BuiltIn());

// Where in a model an attention call sits.
struct AttentionSite {
  std::string component;  // "transformer", "text_encoder", "vae"
  AttentionRole role = AttentionRole::kSelf;
  int layer = 0;
  bool operator==(const AttentionSite&) const = default;
  std::string ToString() const;  // "transformer.joint.3"
};

struct ScheduleRule {
  std::optional<std::string> component;  // absent: any
  std::optional<AttentionRole> role;
  std::vector<int> layers;  // empty: any
  AttentionRequest request;
};

class AttentionSchedule {
 public:
  // The one-line schedule: `names` (comma separated) binds self and joint attention of the denoising transformer; its
  // other sites take the first of the names that can serve, else the fastest exact backend, as all other components do.
  // Throws Error{kUsage} for unknown names.
  // `options` go to the named backend of those sites.
  // `auto_fidelity` is what "auto" among the names may take.
  static AttentionSchedule FromBackendNames(const std::string& names, ChoiceSource source,
                                            Fidelity auto_fidelity = Fidelity::kExact, const Options& options = {},
                                            const AttentionRegistry& registry = AttentionRegistry::BuiltIn());

  // Rules apply by precedence of their request's source, then in the order they were added.
  void Add(ScheduleRule rule);
  AttentionRequest RequestFor(const AttentionSite& site, int step) const;  // auto, exact, when no rule matches

 private:
  std::vector<ScheduleRule> rules_;
};

}  // namespace tessera
