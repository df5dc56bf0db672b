// How models call attention: sites are planned before the loop, then run by (site, problem).
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "attention/check_rows.h"
#include "attention/schedule.h"
#include "attention/selector.h"
#include "tensor/workspace.h"

namespace tessera {

// A site with the problem it will pose: what models list before they run (for planning and `tessera explain`).
struct SiteProblem {
  AttentionSite site;
  AttentionProblem problem;
};

// What really ran: one row per distinct (component, role, backend, options, problem).
struct AttentionRecord {
  AttentionSite site;  // of the first call; `layers` counts the sites
  AttentionProblem problem;
  const AttentionBackend* backend;
  std::string why;
  int layers = 0;
  int64_t calls = 0;
  double seconds = 0;
  double density = 1;  // share of the query-key pairs visited, mean over the calls
  Options options = {};
  std::vector<int> steps = {};  // in which it ran; empty outside of denoising
  CheckRecord check = {};
};

// What a plan that searches has learnt over the picture or film in work.
struct AttentionFinding {
  AttentionSite site;  // the first that uses the plan
  AttentionProblem problem;
  std::string json;  // AttentionPlan::Findings
};

// The attention of one request. Plans are shared between sites that pose the same problem to the same backend, those
// of planners between the sites of one component.
// A problem's `step` and `layer` do not tell sites apart: the site has its layer, and one plan serves all steps.
class AttentionContext {
 public:
  // `registry` must outlive the context.
  AttentionContext(Device device, AttentionSchedule schedule,
                   const AttentionRegistry& registry = AttentionRegistry::BuiltIn());
  ~AttentionContext();

  // Rows of every call are checked from now on. Before Prepare.
  void SetCheck(const AttentionCheck& check);

  // Selects and plans every site for every step of `steps` (0: not known yet). Layers are counted over the sites of a
  // component, these and earlier ones. Throws Error{kUnsupported, kUsage}. May be called again for more sites.
  void Prepare(const std::vector<SiteProblem>& sites, int steps = 0);

  // Before the first step of every picture or film: what earlier ones taught the plans is forgotten. `outline.layers`
  // is counted here. Another number of steps than before selects and plans anew. May allocate and throw Error.
  void BeginDenoising(const DenoisingOutline& outline);
  void BeginStep(int step) noexcept;
  void BeginPass(int pass) noexcept { pass_ = pass; }  // of the step: 0 conditional, 1 unconditional, ...
  int pass() const noexcept { return pass_; }

  // Runs a prepared site; scratch comes from `workspace`. A site or problem that was not prepared is a bug (CHECK).
  // Allocates nothing when `workspace` has reserved WorkspaceBytes().
  void Run(const AttentionSite& site, const AttentionProblem& problem, const AttentionIO& io,
           Workspace& workspace) noexcept;

  // Says which sites failed their check since the last time. Throws Error{kUnsupported} when a Run so far could not be
  // done, or failed its check with CheckAction::kAbort; called after every forward pass, before its result is used.
  void CheckRuns();

  // Between two steps: what Records() and the checks know, and what the plans have learnt of the picture or film in
  // work. Plans are views that the next Run changes.
  TensorState Counts() const;
  TensorState Learnt() const;
  // With the same sites prepared, Learnt() after BeginDenoising. Throw Error{kFormat}.
  void RestoreCounts(const TensorState& state);
  void RestoreLearnt(const TensorState& state);

  std::vector<AttentionRecord> Records() const;
  std::vector<AttentionFinding> Findings() const;                      // of the plans in use that have any
  size_t WorkspaceBytes(const std::vector<SiteProblem>& sites) const;  // the largest scratch of these prepared sites
  const Device& device() const noexcept { return device_; }

 private:
  friend class ScopedForcedBackend;
  struct Planned;  // a plan with what it was made for
  struct Use;      // a plan at a site, with what it did there
  struct Entry;    // a site with the plans it uses, step by step
  Entry* Find(const AttentionSite& site, const AttentionProblem& problem) const noexcept;
  Planned* PlanFor(const Entry& entry, const AttentionBackend& backend, const Options& options);
  Use* UseFor(Entry& entry, const ScheduleRule* rule);
  std::vector<Use*> TableFor(Entry& entry, const AttentionSchedule& schedule);
  void PlanExact(Entry& entry);  // what a site that fails its check goes on with
  void CheckCall(Entry& entry, const AttentionIO& io, Workspace& workspace) noexcept;
  void TellFailedChecks();
  void RunUse(Use& use, const AttentionIO& io, Workspace& workspace) noexcept;
  void Choose() noexcept;         // what every site uses at this step
  void BeginPlans(size_t first);  // tells the plans from `first` on what is being denoised
  void PushSchedule(AttentionSchedule schedule);
  void PopSchedule() noexcept;

  Device device_;
  std::vector<AttentionSchedule> schedules_;  // the last one applies
  const AttentionRegistry& registry_;
  std::vector<std::unique_ptr<Planned>> plans_;
  std::vector<std::unique_ptr<Entry>> entries_;            // in the order of Prepare
  std::unordered_multimap<size_t, Entry*> entry_by_hash_;  // of site and problem
  const Entry* failed_ = nullptr;                          // the first whose Run could not be done
  AttentionCheck check_;
  std::unique_ptr<RowChecker> checker_;  // null: nothing is checked
  int64_t checked_calls_ = 0;
  bool untold_failures_ = false;
  std::unordered_map<std::string, int> layers_;  // of every component
  std::optional<DenoisingOutline> outline_;      // once denoising has begun
  int steps_ = 0;
  int step_ = -1, pass_ = 0;
};

// While it lives, its rules come before everything else that was asked of `context`; afterwards everything is as
// before. Scopes nest; they end in the reverse order. The rules' source becomes ChoiceSource::kForced.
class ScopedForcedBackend {
 public:
  // Plans every prepared site anew. Throws Error{kUsage, kUnsupported} and leaves `context` as it was.
  ScopedForcedBackend(AttentionContext& context, const std::vector<ScheduleRule>& rules);
  // `names` as --attention-backend takes them.
  ScopedForcedBackend(AttentionContext& context, const std::string& names, const Options& options = {});
  ~ScopedForcedBackend();
  ScopedForcedBackend(const ScopedForcedBackend&) = delete;
  ScopedForcedBackend& operator=(const ScopedForcedBackend&) = delete;

 private:
  AttentionContext& context_;
};

}  // namespace tessera
