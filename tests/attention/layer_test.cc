#include "attention/layer.h"

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/allocation_count.h"
#include "conformance/attention_oracle.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<SiteProblem> Sites() {
  const AttentionProblem joint = ParseAttentionProblem("f32 b1 h2/2 d32 q70 kv70 role=joint lse");
  const AttentionProblem vae = ParseAttentionProblem("f32 b1 h1/1 d320 q40 kv40 role=vae");
  return {{{"transformer", AttentionRole::kJoint, 0}, joint},
          {{"transformer", AttentionRole::kJoint, 1}, joint},
          {{"vae", AttentionRole::kVae, 0}, vae}};
}

AttentionContext ContextFor(const std::string& names) {
  return AttentionContext(CpuDevice(), AttentionSchedule::FromBackendNames(names, ChoiceSource::kCommandLine));
}

TEST(AttentionContext, RunsEverySiteItPrepared) {
  AttentionContext context = ContextFor("torch_sdpa");
  const auto sites = Sites();
  context.Prepare(sites);
  Workspace workspace(context.WorkspaceBytes(sites));
  for (const SiteProblem& site : sites) {
    AttentionCase attention({.problem = site.problem, .seed = 4});
    const AttentionTruth truth = SolveInDoubles(attention);
    context.Run(site.site, site.problem, attention.NewIO(), workspace);
    EXPECT_EQ(Deviation(attention, truth, Fidelity::kExact), "");
  }
  EXPECT_EQ(workspace.reserved_bytes(), context.WorkspaceBytes(sites));
}

TEST(AttentionContext, RecordsWhatRan) {
  AttentionContext context = ContextFor("torch_sdpa");
  const auto sites = Sites();
  context.Prepare(sites);
  context.Prepare(sites);  // adds nothing
  Workspace workspace;
  AttentionCase attention({.problem = sites[0].problem, .seed = 4});
  for (int step = 0; step < 3; ++step) {
    context.BeginStep(step);
    for (int layer = 0; layer < 2; ++layer) {
      context.Run(sites[static_cast<size_t>(layer)].site, sites[0].problem, attention.NewIO(), workspace);
    }
  }
  const auto records = context.Records();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].site.ToString(), "transformer.joint.0");
  EXPECT_EQ(records[0].layers, 2);
  EXPECT_EQ(records[0].calls, 6);
  EXPECT_GT(records[0].seconds, 0);
  EXPECT_EQ(records[0].backend->name, "torch_sdpa");
  EXPECT_EQ(records[0].why, "asked for by --attention-backend");
  EXPECT_EQ(records[1].site.component, "vae");
  EXPECT_EQ(records[1].calls, 0);
}

TEST(AttentionContext, StepAndLayerOfAProblemDoNotTellSitesApart) {
  AttentionContext context = ContextFor("torch_sdpa");
  const auto sites = Sites();
  context.Prepare(sites);
  Workspace workspace;
  AttentionCase attention({.problem = sites[0].problem, .seed = 4});
  AttentionProblem problem = sites[0].problem;
  problem.step = 17;
  problem.layer = 1;
  context.Run(sites[1].site, problem, attention.NewIO(), workspace);
  EXPECT_EQ(context.Records()[0].calls, 1);
}

TEST(AttentionContext, RefusesWhatTheBackendCannotServeAndNamesTheSite) {
  AttentionContext context = ContextFor("fa");
  const AttentionProblem biased = ParseAttentionProblem("f32 b1 h2/2 d32 q70 kv70 mask=bias role=joint");
  const std::string error = ErrorOf([&] { context.Prepare({{{"transformer", AttentionRole::kJoint, 5}, biased}}); });
  EXPECT_THAT(error, HasSubstr("'fa' (--attention-backend) cannot serve transformer.joint.5"));
  EXPECT_THAT(error, HasSubstr("would work: torch_sdpa (exact)"));
}

AttentionSchedule TwoHalves() {
  AttentionSchedule schedule;
  for (const auto& [steps, name] : {std::pair{"0.0-0.5", "torch_sdpa"}, std::pair{"0.5-1.0", "fa"}}) {
    ScheduleRule rule;
    rule.steps = ParsePlaceRanges(steps, "steps");
    rule.request.names = {name};
    rule.request.source = ChoiceSource::kSchedule;
    schedule.AddAsked(rule);
  }
  return schedule;
}

void RunSteps(AttentionContext& context, int steps) {
  const auto sites = Sites();
  Workspace workspace;
  AttentionCase attention({.problem = sites[0].problem, .seed = 4});
  for (int step = 0; step < steps; ++step) {
    context.BeginStep(step);
    context.Run(sites[0].site, sites[0].problem, attention.NewIO(), workspace);
  }
}

TEST(AttentionContext, AScheduleChangesTheBackendBetweenSteps) {
  AttentionContext context(CpuDevice(), TwoHalves());
  context.Prepare({Sites()[0]}, 4);
  RunSteps(context, 4);
  const auto records = context.Records();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].backend->name, "torch_sdpa");
  EXPECT_THAT(records[0].steps, ElementsAre(0, 1));
  EXPECT_EQ(records[1].backend->name, "fa");
  EXPECT_THAT(records[1].steps, ElementsAre(2, 3));
}

TEST(AttentionContext, AnotherNumberOfStepsMovesTheSharesOfASchedule) {
  AttentionContext context(CpuDevice(), TwoHalves());
  context.Prepare({Sites()[0]}, 4);
  context.BeginDenoising({.steps = 2});
  RunSteps(context, 2);
  EXPECT_THAT(context.Records()[0].steps, ElementsAre(0));
  EXPECT_THAT(context.Records()[1].steps, ElementsAre(1));
}

TEST(AttentionContext, AForcedBackendWinsWhileItsScopeLasts) {
  AttentionContext context = ContextFor("torch_sdpa");
  context.Prepare({Sites()[0]}, 2);
  {
    const ScopedForcedBackend outer(context, "torch_sdpa");
    const ScopedForcedBackend inner(context, "fa");
    RunSteps(context, 1);
  }
  RunSteps(context, 2);
  std::map<std::string, int64_t> calls;
  for (const AttentionRecord& record : context.Records()) {
    calls[std::string(record.backend->name) + ", " + record.why] += record.calls;
  }
  EXPECT_EQ(calls["fa, asked for by forced choice"], 1);
  EXPECT_EQ(calls["torch_sdpa, asked for by --attention-backend"], 2);
}

TEST(AttentionContext, AForceThatCannotServeLeavesTheContextAsItWas) {
  AttentionContext context = ContextFor("torch_sdpa");
  const AttentionProblem biased = ParseAttentionProblem("f32 b1 h2/2 d32 q70 kv70 mask=bias role=joint");
  context.Prepare({{{"transformer", AttentionRole::kJoint, 5}, biased}}, 2);
  EXPECT_THAT(ErrorOf([&] { const ScopedForcedBackend forced(context, "fa"); }), HasSubstr("'fa' (forced choice)"));
  EXPECT_EQ(context.Records()[0].backend->name, "torch_sdpa");
}

TEST(AttentionContext, RunAllocatesNothing) {
  SetThreads(1);
  for (const std::string backend : {"torch_sdpa", "fa"}) {
    AttentionContext context = ContextFor(backend);
    const std::vector<SiteProblem> sites = {Sites()[0]};
    context.Prepare(sites);
    Workspace workspace(context.WorkspaceBytes(sites));
    AttentionCase attention({.problem = sites[0].problem, .seed = 4});
    const AttentionIO io = attention.NewIO();
    context.Run(sites[0].site, sites[0].problem, io, workspace);  // first calls may set up the thread pool
    const int64_t before = AllocationsOfThisThread();
    context.Run(sites[0].site, sites[0].problem, io, workspace);
    EXPECT_EQ(AllocationsOfThisThread(), before) << backend;
  }
  SetThreads(0);
}

TEST(AttentionContextDeathTest, ASiteThatWasNotPreparedIsABug) {
  AttentionContext context = ContextFor("torch_sdpa");
  Workspace workspace;
  const auto sites = Sites();
  EXPECT_DEATH(context.Run(sites[0].site, sites[0].problem, AttentionIO{}, workspace), "entry != nullptr");
}

}  // namespace
}  // namespace tessera
