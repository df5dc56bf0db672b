#include "attention/composition.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/round_up.h"

namespace tessera {
namespace {

HeadDims Both(const HeadDims& a, const HeadDims& b) noexcept {
  const int step = std::lcm(a.step, b.step);
  return {std::max(a.smallest, b.smallest), std::min(a.largest, b.largest), step};
}

// Workspace: the planner's, then the kernel's.
class ComposedPlan final : public AttentionPlan {
 public:
  ComposedPlan(std::unique_ptr<BlockPlanner> planner, std::unique_ptr<AttentionPlan> kernel)
      : planner_(std::move(planner)), kernel_(std::move(kernel)) {
    planner_->BeginRequest({});
  }

  size_t workspace_bytes() const noexcept override {
    return Aligned(planner_->workspace_bytes()) + kernel_->workspace_bytes();
  }
  void BeginRequest(const DenoisingOutline& outline) override {
    planner_->BeginRequest(outline);
    kernel_->BeginRequest(outline);
  }
  void BeginStep(int step) noexcept override {
    planner_->BeginStep(step);
    kernel_->BeginStep(step);
  }
  std::string_view arithmetic() const noexcept override { return kernel_->arithmetic(); }
  double ExpectedDensity(int step, int layer) const noexcept override { return planner_->ExpectedDensity(step, layer); }
  double density() const noexcept override {
    const BlockPlan* decided = planner_->decision();
    return decided == nullptr ? 1 : decided->Density();
  }
  double planning_seconds() const noexcept override { return planning_seconds_; }
  const BlockPlan* decision() const noexcept override { return planner_->decision(); }
  std::string Findings() const override { return planner_->Findings(); }
  TensorState State() const override { return planner_->State(); }
  void Restore(const TensorState& state) override { planner_->Restore(state); }
  std::string_view failure() const noexcept override { return kernel_->failure(); }

  void Run(const AttentionIO& io, std::span<std::byte> workspace) noexcept override {
    TESSERA_CHECK(workspace.size() >= workspace_bytes());
    const size_t planning = Aligned(planner_->workspace_bytes());
    const auto kernel_workspace = workspace.subspan(planning);
    double walking = 0;
    const auto attend = [&](const AttentionIO& planned) {
      const double begin = SecondsNow();
      kernel_->Run(planned, kernel_workspace);
      walking += SecondsNow() - begin;
    };
    const double begin = SecondsNow();
    planner_->Run(io, attend, workspace.first(planning));
    planning_seconds_ = SecondsNow() - begin - walking;
  }

 private:
  const std::unique_ptr<BlockPlanner> planner_;
  const std::unique_ptr<AttentionPlan> kernel_;
  double planning_seconds_ = 0;
};

}  // namespace

void BlockPlanner::Restore(const TensorState& state) { state.RequireEmpty("an attention planner", "planner"); }

AttentionCaps ComposedCaps(const AttentionCaps& planner, const AttentionCaps& kernel) noexcept {
  AttentionCaps both = kernel;
  both.devices &= planner.devices;
  both.isa = std::max(planner.isa, kernel.isa);
  both.dtypes &= planner.dtypes;
  both.head_dims = Both(planner.head_dims, kernel.head_dims);
  both.masks &= planner.masks;
  both.grouped_kv = planner.grouped_kv && kernel.grouped_kv;
  both.cross = planner.cross && kernel.cross;
  both.lse = planner.lse && kernel.lse;
  both.walks_blocks = false;
  both.wants_grid = planner.wants_grid;
  both.applies_gate = planner.applies_gate;
  both.fidelity = std::max(planner.fidelity, kernel.fidelity);
  return both;
}

AttentionComposition::AttentionComposition(const AttentionPlanner& planner, const AttentionBackend& kernel,
                                           std::string name)
    : planner_(planner),
      kernel_(kernel),
      name_(std::move(name)),
      summary_(name_ == planner.name ? std::string(planner.summary)
                                     : fmt::format("{} with the kernel of {}", planner.name, kernel.name)),
      backend_{.name = name_,
               .aliases = name_ == planner.name ? planner.aliases : std::string_view(),
               .summary = summary_,
               .caps = ComposedCaps(planner.caps, kernel.caps),
               .options = planner.options,
               .option_prefix = planner.option_prefix,
               .option_group = planner.option_group,
               .check = nullptr,
               .speed = nullptr,
               .plan = nullptr,
               .maker = this,
               .planner = &planner,
               .kernel = &kernel} {}

std::string_view AttentionComposition::Check(const AttentionProblem& problem, const Device& device) const {
  return CheckProblem(kernel_, problem, device);
}

double AttentionComposition::Speed(const AttentionProblem& problem, const Device& device) const {
  return SpeedOf(kernel_, problem, device) * planner_.speedup(problem);
}

std::unique_ptr<AttentionPlan> AttentionComposition::Plan(const AttentionProblem& problem, const Device& device,
                                                          const Options& options) const {
  Options of_kernel;
  for (const OptionSpec& spec : kernel_.options) {
    if (const OptionValue* value = options.Find(spec.key)) of_kernel.Set(std::string(spec.key), *value);
  }
  AttentionProblem walked = problem;  // the planner applies the gate and knows the grid
  walked.has_gate = false;
  walked.grid.reset();
  return std::make_unique<ComposedPlan>(planner_.plan(problem, device, options),
                                        MakePlan(kernel_, walked, device, of_kernel));
}

}  // namespace tessera
