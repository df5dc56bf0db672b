// Which request applies at which site: component, role, layer and step. First matching rule wins.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "attention/selector.h"

namespace tessera {

// Names separated by commas, lower case, each known ("auto" included). Throws Error{kUsage} naming the wrong one.
std::vector<std::string> ParseBackendNames(const std::string& names,
                                           const AttentionRegistry& registry = AttentionRegistry::BuiltIn());

// Whether a component denoises: its sites have steps.
bool IsDenoiser(std::string_view component) noexcept;

// Where in a model an attention call sits.
struct AttentionSite {
  std::string component;  // "transformer", "text_encoder", "vae"
  AttentionRole role = AttentionRole::kSelf;
  int layer = 0;
  bool operator==(const AttentionSite&) const = default;
  std::string ToString() const;  // "transformer.joint.3"
};

// How many layers and steps there are where a rule is looked up; 0: not known, nothing is counted from the end.
struct ScheduleExtent {
  int layers = 0;  // of the site's component
  int steps = 0;
};

// Some of `count` layers or steps: those from `first` to `last`, both included and counted from the end where negative
// (-1: the last one), or those whose share place / count lies in [first, last).
struct PlaceRange {
  enum class Unit { kIndex, kShare };
  double first = 0, last = 0;
  Unit unit = Unit::kIndex;
  bool Contains(int place, int count) const noexcept;
};

// "0-3,-1", "5-" (to the end), "0.0-0.3" (shares). Throws Error{kUsage}; `what` ("layers") leads the message.
std::vector<PlaceRange> ParsePlaceRanges(std::string_view text, std::string_view what);

struct ScheduleRule {
  std::optional<std::string> component = std::nullopt;  // absent: any
  std::optional<AttentionRole> role = std::nullopt;     // absent: any
  std::vector<PlaceRange> layers = {};                  // empty: any
  std::vector<PlaceRange> steps = {};                   // empty: any, and outside of denoising
  AttentionRequest request = {};
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
  // What a person means by a rule: without a component the denoisers; without a role all roles, where the denoisers'
  // self and joint attention is bound and their other sites may fall back to the fastest exact backend.
  void AddAsked(const ScheduleRule& rule);

  // The rules of `other`, after those of the same source that are there already.
  void Append(const AttentionSchedule& other);

  // Null: no rule matches. `step` < 0: outside of denoising. A site of the second denoiser follows the rules of the
  // first where no rule of the same source names it.
  const ScheduleRule* RuleFor(const AttentionSite& site, int step, const ScheduleExtent& extent = {}) const;
  AttentionRequest RequestFor(const AttentionSite& site, int step, const ScheduleExtent& extent = {}) const;

  // Throws Error{kUsage} for an asked rule that names a component, role or layer which none of `sites` has; the message
  // names those that are there.
  void CheckAgainst(const std::vector<AttentionSite>& sites) const;

 private:
  void AddToComponent(const ScheduleRule& asked);
  bool Matches(const ScheduleRule& rule, const AttentionSite& site, int step, const ScheduleExtent& extent) const;
  bool IsNamedItself(const ScheduleRule& rule, const AttentionSite& site, int step, const ScheduleExtent& extent) const;

  std::vector<ScheduleRule> rules_;
  std::vector<ScheduleRule> asked_;  // as they were written
};

}  // namespace tessera
