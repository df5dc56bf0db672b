// Which request applies at which site: component, role, layer and step. First matching rule wins.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "attention/selector.h"

namespace tessera {

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
  std::vector<int> layers;               // empty: any
  AttentionRequest request;
};

class AttentionSchedule {
 public:
  // The one-line schedule: `names` (comma separated) binds the denoising transformer; every other component gets the
  // fastest exact backend. Throws Error{kUsage} for unknown names.
  static AttentionSchedule FromBackendNames(const std::string& names, ChoiceSource source);

  void Add(ScheduleRule rule);
  AttentionRequest RequestFor(const AttentionSite& site, int step) const;  // auto, exact, when no rule matches

 private:
  std::vector<ScheduleRule> rules_;
};

}  // namespace tessera
