#include "attention/layer.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include <fmt/format.h>

#include "attention/registry.h"
#include "base/check.h"
#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

AttentionProblem WithoutPlace(AttentionProblem problem) {
  problem.step = problem.layer = -1;
  return problem;
}

bool SameButForPlace(const AttentionProblem& a, const AttentionProblem& b) noexcept {
  return WithoutPlace(a) == WithoutPlace(b);
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

double Now() noexcept {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

struct AttentionContext::Planned {
  AttentionProblem problem;
  const AttentionBackend* backend;
  Options options;
  std::unique_ptr<AttentionPlan> plan;
};

struct AttentionContext::Entry {
  AttentionSite site;
  AttentionProblem problem;
  std::string why;
  Planned* planned;
  int64_t calls = 0;
  double seconds = 0;
  double density = 0;  // sum over the calls
};

AttentionContext::AttentionContext(Device device, AttentionSchedule schedule, const AttentionRegistry& registry)
    : device_(std::move(device)), schedule_(std::move(schedule)), registry_(registry) {}

AttentionContext::~AttentionContext() = default;

AttentionContext::Planned* AttentionContext::PlanFor(const AttentionProblem& problem, const AttentionBackend& backend,
                                                     const Options& options) {
  for (const auto& planned : plans_) {
    if (planned->backend == &backend && planned->problem == problem && planned->options == options)
      return planned.get();
  }
  auto plan = MakePlan(backend, problem, device_, options);
  TESSERA_CHECK(plan != nullptr);
  if (step_ >= 0) plan->BeginStep(step_);
  plans_.push_back(std::make_unique<Planned>(Planned{problem, &backend, options, std::move(plan)}));
  return plans_.back().get();
}

void AttentionContext::Prepare(const std::vector<SiteProblem>& sites) {
  for (const SiteProblem& wanted : sites) {
    if (Find(wanted.site, wanted.problem) != nullptr) continue;
    const AttentionProblem problem = WithoutPlace(wanted.problem);
    const AttentionRequest request = schedule_.RequestFor(wanted.site, -1);
    Selection selection = Select(problem, device_, request, registry_, wanted.site.ToString());
    Planned* planned = PlanFor(problem, *selection.backend, ResolveOptions(*selection.backend, request.options));
    entries_.push_back(std::make_unique<Entry>(Entry{wanted.site, problem, std::move(selection.why), planned}));
    entry_by_hash_.emplace(HashOf(wanted.site, problem), entries_.back().get());
  }
}

void AttentionContext::BeginDenoising(const DenoisingOutline& outline) {
  for (const auto& planned : plans_) {
    DenoisingOutline of_plan = outline;
    of_plan.layers = 0;
    for (const auto& entry : entries_) {
      if (entry->planned == planned.get()) of_plan.layers = std::max(of_plan.layers, entry->site.layer + 1);
    }
    planned->plan->BeginRequest(of_plan);
  }
}

void AttentionContext::BeginStep(int step) noexcept {
  step_ = step;
  for (const auto& planned : plans_) planned->plan->BeginStep(step);
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
  const Workspace::Scope scope(workspace);
  const size_t bytes = entry->planned->plan->workspace_bytes();
  const std::span<std::byte> scratch(static_cast<std::byte*>(workspace.TakeBytes(bytes)), bytes);
  const double begin = Now();
  AttentionIO placed = io;
  placed.place = {site.layer, pass_};
  entry->planned->plan->Run(placed, scratch);
  if (failed_ == nullptr && !entry->planned->plan->failure().empty()) failed_ = entry;
  entry->seconds += Now() - begin;
  entry->density += entry->planned->plan->density();
  ++entry->calls;
}

void AttentionContext::CheckRuns() const {
  if (failed_ == nullptr) return;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("attention backend '{}' failed at {}, '{}': {}", failed_->planned->backend->name,
                          failed_->site.ToString(), Print(failed_->problem),
                          Printable(failed_->planned->plan->failure(), 300)));
}

std::vector<AttentionRecord> AttentionContext::Records() const {
  std::vector<AttentionRecord> records;
  for (const auto& entry : entries_) {
    const auto same = std::find_if(records.begin(), records.end(), [&](const AttentionRecord& record) {
      return record.site.component == entry->site.component && record.site.role == entry->site.role &&
             record.backend == entry->planned->backend && record.problem == entry->problem && record.why == entry->why;
    });
    AttentionRecord& record = same != records.end()
                                  ? *same
                                  : records.emplace_back(AttentionRecord{
                                        entry->site, entry->problem, entry->planned->backend, entry->why, 0, 0, 0, 0});
    ++record.layers;
    record.calls += entry->calls;
    record.seconds += entry->seconds;
    record.density += entry->density;
  }
  for (AttentionRecord& record : records) {
    record.density = record.calls > 0 ? record.density / static_cast<double>(record.calls) : 1;
  }
  return records;
}

size_t AttentionContext::WorkspaceBytes(const std::vector<SiteProblem>& sites) const {
  size_t bytes = 0;
  for (const SiteProblem& wanted : sites) {
    const Entry* entry = Find(wanted.site, wanted.problem);
    TESSERA_CHECK(entry != nullptr);
    bytes = std::max(bytes, entry->planned->plan->workspace_bytes());
  }
  return bytes;
}

}  // namespace tessera
