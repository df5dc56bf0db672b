#include "attention/layer.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include <fmt/format.h>

#include "attention/layer_parts.h"
#include "attention/registry.h"
#include "attention/request_options.h"
#include "attention/rules.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/trace.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

AttentionProblem WithoutPlace(AttentionProblem problem) {
  problem.step = problem.layer = -1;
  return problem;
}

bool SameButForPlace(const AttentionProblem& a, const AttentionProblem& b) noexcept {
  return WithoutPlace(a) == WithoutPlace(b);
}

std::string PlaceOf(const AttentionSite& site) { return fmt::format("{}.{}", site.component, Name(site.role)); }

// The share of the problem's keys that are there: caches fill and prompts differ, the problem is that of the largest.
double ShareOfKeys(const AttentionProblem& problem, std::span<const int32_t> key_lengths) noexcept {
  if (key_lengths.empty()) return 1;
  const double there = std::accumulate(key_lengths.begin(), key_lengths.end(), 0.0);
  return there / static_cast<double>(problem.kv_len) / static_cast<double>(key_lengths.size());
}

// Of the fields that differ between the sites of one model; equality decides.
size_t HashOf(const AttentionSite& site, const AttentionProblem& problem) noexcept {
  size_t hash = std::hash<std::string_view>()(site.component);
  for (const int64_t value : {static_cast<int64_t>(site.role), int64_t{site.layer}, problem.batch, problem.q_len,
                              problem.kv_len, static_cast<int64_t>(problem.mask)}) {
    hash = (hash ^ static_cast<size_t>(value)) * size_t{0x9E3779B97F4A7C15};
    hash ^= hash >> 29;
  }
  return hash;
}

}  // namespace

AttentionContext::AttentionContext(Device device, AttentionSchedule schedule, const AttentionRegistry& registry)
    : device_(std::move(device)), registry_(registry) {
  schedules_.push_back(std::move(schedule));
}

AttentionContext::~AttentionContext() = default;

// A planner learns from step to step, so the experts of a model must not share one.
AttentionContext::Planned* AttentionContext::PlanFor(const Entry& entry, const AttentionBackend& backend,
                                                     const Options& options) {
  const bool learns = backend.planner != nullptr && IsDenoiser(entry.site.component);
  const std::string component = learns ? entry.site.component : "";
  for (const auto& planned : plans_) {
    const bool serves = planned->backend == &backend && planned->problem == entry.problem;
    if (serves && planned->options == options && planned->component == component) return planned.get();
  }
  auto plan = MakePlan(backend, entry.problem, device_, options);
  TESSERA_CHECK(plan != nullptr);
  plans_.push_back(std::make_unique<Planned>(Planned{component, entry.problem, &backend, options, std::move(plan)}));
  return plans_.back().get();
}

AttentionContext::Use* AttentionContext::UseFor(Entry& entry, const ScheduleRule* rule) {
  const AttentionRequest request = rule == nullptr ? AttentionRequest{} : rule->request;
  Selection selection = Select(entry.problem, device_, request, registry_, entry.site.ToString());
  Planned* planned = PlanFor(entry, *selection.backend, OptionsFor(*selection.backend, request, registry_));
  for (const auto& use : entry.uses) {
    if (use->planned == planned && use->why == selection.why) return use.get();
  }
  entry.uses.push_back(
      std::make_unique<Use>(Use{planned, std::move(selection.why), PlaceOf(entry.site), entry.site.layer, {}}));
  return entry.uses.back().get();
}

std::vector<AttentionContext::Use*> AttentionContext::TableFor(Entry& entry, const AttentionSchedule& schedule) {
  const int steps = IsDenoiser(entry.site.component) ? steps_ : 0;
  const ScheduleExtent extent{layers_[entry.site.component], steps};
  std::vector<std::pair<const ScheduleRule*, Use*>> known;
  std::vector<Use*> table;
  for (int step = 0; step < std::max(steps, 1); ++step) {
    const ScheduleRule* rule = schedule.RuleFor(entry.site, steps == 0 ? -1 : step, extent);
    auto at = std::find_if(known.begin(), known.end(), [&](const auto& pair) { return pair.first == rule; });
    if (at == known.end()) at = known.insert(known.end(), {rule, UseFor(entry, rule)});
    table.push_back(at->second);
  }
  for (const auto& use : entry.uses) use->calls_at.resize(static_cast<size_t>(steps));
  return table;
}

void AttentionContext::Prepare(const std::vector<SiteProblem>& sites, int steps) {
  if (steps > 0) steps_ = steps;
  const size_t planned_before = plans_.size();
  for (const SiteProblem& wanted : sites) {
    int& layers = layers_[wanted.site.component];
    layers = std::max(layers, wanted.site.layer + 1);
  }
  for (const SiteProblem& wanted : sites) {
    if (Find(wanted.site, wanted.problem) != nullptr) continue;
    const AttentionProblem problem = WithoutPlace(wanted.problem);
    auto entry = std::make_unique<Entry>(Entry{wanted.site, problem});
    for (const AttentionSchedule& schedule : schedules_) entry->tables.push_back(TableFor(*entry, schedule));
    if (checker_ != nullptr) PlanExact(*entry);
    entry_by_hash_.emplace(HashOf(wanted.site, problem), entry.get());
    entries_.push_back(std::move(entry));
  }
  BeginPlans(planned_before);
  Choose();
}

void AttentionContext::Choose() noexcept {
  for (const auto& entry : entries_) {
    const std::vector<Use*>& table = entry->tables.back();
    entry->now =
        entry->demoted ? entry->exact : table[std::min(static_cast<size_t>(std::max(step_, 0)), table.size() - 1)];
  }
}

void AttentionContext::PushSchedule(AttentionSchedule schedule) {
  const size_t planned_before = plans_.size();
  std::vector<std::vector<Use*>> tables;
  for (const auto& entry : entries_) tables.push_back(TableFor(*entry, schedule));
  BeginPlans(planned_before);
  schedules_.push_back(std::move(schedule));
  for (size_t i = 0; i < entries_.size(); ++i) entries_[i]->tables.push_back(std::move(tables[i]));
  Choose();
}

void AttentionContext::PopSchedule() noexcept {
  schedules_.pop_back();
  for (const auto& entry : entries_) entry->tables.pop_back();
  Choose();
}

void AttentionContext::BeginDenoising(const DenoisingOutline& outline) {
  step_ = -1;
  if (outline.steps != steps_) {
    steps_ = outline.steps;
    for (const auto& entry : entries_) {
      if (!IsDenoiser(entry->site.component)) continue;
      for (size_t i = 0; i < schedules_.size(); ++i) entry->tables[i] = TableFor(*entry, schedules_[i]);
    }
  }
  outline_ = outline;
  BeginPlans(0);
  Choose();
}

void AttentionContext::BeginPlans(size_t first) {
  for (size_t i = first; outline_ && i < plans_.size(); ++i) {
    DenoisingOutline of_plan = *outline_;
    of_plan.layers = 0;
    for (const auto& entry : entries_) {
      const bool uses = std::any_of(entry->uses.begin(), entry->uses.end(),
                                    [&](const auto& use) { return use->planned == plans_[i].get(); });
      if (uses) of_plan.layers = std::max(of_plan.layers, entry->site.layer + 1);
    }
    plans_[i]->plan->BeginRequest(of_plan);
    if (step_ >= 0) plans_[i]->plan->BeginStep(step_);
  }
}

void AttentionContext::BeginStep(int step) noexcept {
  step_ = step;
  for (const auto& planned : plans_) planned->plan->BeginStep(step);
  Choose();
}

AttentionContext::Entry* AttentionContext::Find(const AttentionSite& site,
                                                const AttentionProblem& problem) const noexcept {
  auto [at, end] = entry_by_hash_.equal_range(HashOf(site, problem));
  for (; at != end; ++at) {
    if (at->second->site == site && SameButForPlace(at->second->problem, problem)) return at->second;
  }
  return nullptr;
}

void AttentionContext::Run(const AttentionSite& site, const AttentionProblem& problem, const AttentionIO& io,
                           Workspace& workspace) noexcept {
  Entry* entry = Find(site, problem);
  TESSERA_CHECK(entry != nullptr);
  AttentionIO placed = io;
  placed.place = {site.layer, pass_};
  RunUse(*entry->now, placed, workspace);
  if (failed_ == nullptr && !entry->now->planned->plan->failure().empty()) failed_ = entry;
  if (checker_ != nullptr) CheckCall(*entry, placed, workspace);
}

void AttentionContext::RunUse(Use& use, const AttentionIO& io, Workspace& workspace) noexcept {
  AttentionPlan& plan = *use.planned->plan;
  const Workspace::Scope scope(workspace);
  const size_t bytes = plan.workspace_bytes();
  const std::span<std::byte> scratch(static_cast<std::byte*>(workspace.TakeBytes(bytes)), bytes);
  const AttentionProblem& problem = use.planned->problem;
  TraceScope trace(workspace.trace(), {.kind = TraceKind::kAttention,
                                       .name = use.planned->backend->name,
                                       .place = use.place,
                                       .index = use.layer,
                                       .sizes = {problem.batch, problem.heads, problem.kv_heads, problem.head_dim,
                                                 problem.q_len, problem.kv_len},
                                       .flops = problem.flops() * ShareOfKeys(problem, io.key_lengths)});
  const double begin = SecondsNow();
  plan.Run(io, scratch);
  use.seconds += SecondsNow() - begin;
  trace.SetDensity(plan.density());
  use.density += plan.density();
  ++use.calls;
  const auto step = static_cast<size_t>(std::max(step_, 0));
  if (step_ >= 0 && step < use.calls_at.size()) ++use.calls_at[step];
}

void AttentionContext::SetCheck(const AttentionCheck& check) {
  TESSERA_CHECK(entries_.empty());
  check_ = check;
  checker_ = check.enabled() ? std::make_unique<RowChecker>(check, Threads()) : nullptr;
}

// The fastest exact backend that the site does not use already.
void AttentionContext::PlanExact(Entry& entry) {
  checker_->Reserve(entry.problem);
  if (check_.action != CheckAction::kDemote) return;
  const AttentionBackend* best = nullptr;
  for (const AttentionBackend* backend : registry_.backends()) {
    const bool used = std::any_of(entry.uses.begin(), entry.uses.end(),
                                  [&](const auto& use) { return use->planned->backend == backend; });
    if (used || backend->caps.fidelity != Fidelity::kExact) continue;
    if (!Refusals(*backend, entry.problem, device_).empty()) continue;
    const bool faster =
        best == nullptr || SpeedOf(*backend, entry.problem, device_) > SpeedOf(*best, entry.problem, device_);
    if (faster) best = backend;
  }
  if (best == nullptr) {
    const bool all_exact = std::all_of(entry.uses.begin(), entry.uses.end(), [](const auto& use) {
      return use->planned->backend->caps.fidelity == Fidelity::kExact;
    });
    if (all_exact) return;
    throw Error(ErrorKind::kUnsupported,
                fmt::format("attention check: no exact backend can take over '{}' at {}; the actions report and abort "
                            "work",
                            Print(entry.problem), entry.site.ToString()));
  }
  Planned* planned = PlanFor(entry, *best, ResolveOptions(*best, {}));
  entry.uses.push_back(std::make_unique<Use>(
      Use{planned, "in place of one that failed its check", PlaceOf(entry.site), entry.site.layer, {}}));
  entry.exact = entry.uses.back().get();
}

void AttentionContext::CheckCall(Entry& entry, const AttentionIO& io, Workspace& workspace) noexcept {
  Use& use = *entry.now;
  const CheckedCall checked = checker_->Check(entry.problem, io, checked_calls_++);
  const double tolerance =
      check_.tolerance.value_or(DefaultTolerance(use.planned->backend->caps.fidelity, entry.problem.dtype));
  ++use.check.calls;
  use.check.rows += checked.rows;
  if (checked.finite) use.check.worst = std::max(use.check.worst, checked.rel_l1);
  if (checked.finite && checked.rel_l1 <= tolerance) return;
  ++use.check.failures;
  if (!checked.finite) ++use.check.not_finite;
  if (use.check.first_failed_step < 0) use.check.first_failed_step = step_;
  untold_failures_ = untold_failures_ || !use.told;
  if (entry.exact == nullptr || entry.now == entry.exact) return;
  use.check.demoted = entry.demoted = true;
  entry.now = entry.exact;
  RunUse(*entry.exact, io, workspace);
}

void AttentionContext::TellFailedChecks() {
  if (!untold_failures_) return;
  untold_failures_ = false;
  for (const auto& entry : entries_) {
    for (const auto& use : entry->uses) {
      if (use->told || use->check.failures == 0) continue;
      use->told = true;
      const std::string found = use->check.not_finite > 0 ? std::string("values that are not finite")
                                                          : fmt::format("relative L1 {:.3g}", use->check.worst);
      const std::string message =
          fmt::format("attention check: '{}' at {}{}: {}", use->planned->backend->name, entry->site.ToString(),
                      step_ >= 0 ? fmt::format(", step {}", step_ + 1) : "", found);
      if (check_.action == CheckAction::kAbort) throw Error(ErrorKind::kUnsupported, message);
      Log(LogLevel::kWarning,
          message + (use->check.demoted ? fmt::format("; '{}' goes on", entry->exact->planned->backend->name) : ""));
    }
  }
}

void AttentionContext::CheckRuns() {
  TellFailedChecks();
  if (failed_ == nullptr) return;
  for (const auto& use : failed_->uses) {
    const std::string_view failure = use->planned->plan->failure();
    if (failure.empty()) continue;
    throw Error(ErrorKind::kUnsupported,
                fmt::format("attention backend '{}' failed at {}, '{}': {}", use->planned->backend->name,
                            failed_->site.ToString(), Print(failed_->problem), Printable(failure, 300)));
  }
}

namespace {

bool SameRow(const AttentionRecord& a, const AttentionRecord& b) {
  return a.site.component == b.site.component && a.site.role == b.site.role && a.backend == b.backend &&
         a.problem == b.problem && a.why == b.why && a.options == b.options;
}

void AddSteps(const std::vector<int64_t>& calls_at, std::vector<int>& steps) {
  for (size_t step = 0; step < calls_at.size(); ++step) {
    const int place = static_cast<int>(step);
    if (calls_at[step] > 0 && std::find(steps.begin(), steps.end(), place) == steps.end()) steps.push_back(place);
  }
  std::sort(steps.begin(), steps.end());
}

}  // namespace

std::vector<AttentionRecord> AttentionContext::Records() const {
  std::vector<AttentionRecord> records;
  for (const auto& entry : entries_) {
    for (const auto& use : entry->uses) {
      AttentionRecord row{
          entry->site, entry->problem, use->planned->backend, use->why, 0, 0, 0, 0, use->planned->options, {}};
      const auto same =
          std::find_if(records.begin(), records.end(), [&](const auto& known) { return SameRow(known, row); });
      AttentionRecord& record = same != records.end() ? *same : records.emplace_back(std::move(row));
      ++record.layers;
      record.calls += use->calls;
      record.seconds += use->seconds;
      record.density += use->density;
      record.check.Add(use->check);
      AddSteps(use->calls_at, record.steps);
    }
  }
  for (AttentionRecord& record : records) {
    record.density = record.calls > 0 ? record.density / static_cast<double>(record.calls) : 1;
  }
  return records;
}

std::vector<AttentionFinding> AttentionContext::Findings() const {
  std::vector<AttentionFinding> findings;
  std::vector<const Planned*> asked;
  for (const auto& entry : entries_) {
    for (const auto& use : entry->uses) {
      if (std::find(asked.begin(), asked.end(), use->planned) != asked.end()) continue;
      asked.push_back(use->planned);
      std::string json = use->planned->plan->Findings();
      if (!json.empty()) findings.push_back({entry->site, entry->problem, std::move(json)});
    }
  }
  return findings;
}

size_t AttentionContext::WorkspaceBytes(const std::vector<SiteProblem>& sites) const {
  size_t bytes = 0;
  for (const SiteProblem& wanted : sites) {
    const Entry* entry = Find(wanted.site, wanted.problem);
    TESSERA_CHECK(entry != nullptr);
    for (const auto& use : entry->uses) bytes = std::max(bytes, use->planned->plan->workspace_bytes());
  }
  return bytes;
}

namespace {

std::vector<ScheduleRule> NamedRules(const std::string& names, const Options& options,
                                     const AttentionRegistry& registry) {
  ScheduleRule rule;
  rule.request.names = ParseBackendNames(names, registry);
  rule.request.options = options;
  CheckOptions(options, rule.request.names, registry, "forced attention backend");
  return {rule};
}

}  // namespace

ScopedForcedBackend::ScopedForcedBackend(AttentionContext& context, const std::vector<ScheduleRule>& rules)
    : context_(context) {
  AttentionSchedule schedule;
  for (ScheduleRule rule : rules) {
    rule.request.source = ChoiceSource::kForced;
    schedule.AddAsked(rule);
  }
  schedule.Append(context.schedules_.back());
  context.PushSchedule(std::move(schedule));
}

ScopedForcedBackend::ScopedForcedBackend(AttentionContext& context, const std::string& names, const Options& options)
    : ScopedForcedBackend(context, NamedRules(names, options, context.registry_)) {}

ScopedForcedBackend::~ScopedForcedBackend() { context_.PopSchedule(); }

}  // namespace tessera
