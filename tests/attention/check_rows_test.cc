#include "attention/check_rows.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/allocation_count.h"
#include "attention/layer.h"
#include "attention/registry.h"
#include "conformance/attention_oracle.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"
#include "support/temporary_folder.h"
#include "tensor/storage.h"

namespace tessera {
namespace {

using testing::HasSubstr;

TEST(AttentionCheckText, TakesRateToleranceAndSeed) {
  const AttentionCheck check = ParseAttentionCheck("rate=0.5, tolerance=0.02,seed=9", CheckAction::kAbort);
  EXPECT_EQ(check.rate, 0.5);
  EXPECT_EQ(check.tolerance, 0.02);
  EXPECT_EQ(check.seed, 9u);
  EXPECT_EQ(check.action, CheckAction::kAbort);
  EXPECT_EQ(ParseAttentionCheck("0.25", CheckAction::kReport).rate, 0.25);
  EXPECT_EQ(ParseAttentionCheck("tolerance=1", CheckAction::kReport).rate, 0.01);
}

TEST(AttentionCheckText, RefusesWhatMakesNoSense) {
  const auto error = [](const std::string& text) {
    return ErrorOf([&] { ParseAttentionCheck(text, CheckAction::kReport); });
  };
  for (const char* text : {"", "rate=", "rate=0", "rate=1.5", "rate=-1", "rate=nan", "tolerance=-1", "seed=0.5",
                           "seed=-1", "rates=1", "rate=0.1,rate=0.2", "rate=0.1,,"}) {
    EXPECT_THAT(error(text), HasSubstr("would work")) << text;
  }
}

const AttentionProblem kProblem = ParseAttentionProblem("f32 b2 h2/1 d16 q40 kv50");

// A right result of the problem, to be spoilt.
struct Solved {
  AttentionCase attention{{.problem = kProblem, .seed = 6}};
  AttentionIO io = attention.NewIO();
  Solved() {
    const auto plan = MakePlan(AttentionRegistry::BuiltIn().Find("torch_sdpa"), kProblem, CpuDevice(), {});
    const auto workspace = AllocateAligned(plan->workspace_bytes());
    plan->Run(io, {workspace.get(), plan->workspace_bytes()});
  }
  float& At(int64_t batch, int64_t token, int64_t head) {
    return static_cast<float*>(
        io.out.elements)[batch * io.out.batch_stride + token * io.out.seq_stride + head * io.out.head_stride];
  }
};

RowChecker CheckerOf(double rate, int threads = 2) {
  RowChecker checker({.rate = rate, .tolerance = std::nullopt}, threads);
  checker.Reserve(kProblem);
  return checker;
}

TEST(RowChecker, FindsNothingInARightResult) {
  Solved solved;
  const CheckedCall checked = CheckerOf(1).Check(kProblem, solved.io, 0);
  EXPECT_EQ(checked.rows, 160);
  EXPECT_TRUE(checked.finite);
  EXPECT_LT(checked.rel_l1, 1e-6);
}

TEST(RowChecker, SamplesAShareOfTheRows) {
  Solved solved;
  EXPECT_EQ(CheckerOf(0.1).Check(kProblem, solved.io, 0).rows, 16);
  EXPECT_EQ(CheckerOf(1e-6).Check(kProblem, solved.io, 0).rows, 1);
}

TEST(RowChecker, MeasuresTheDistance) {
  Solved solved;
  RowChecker checker = CheckerOf(1);
  solved.At(1, 3, 1) += 100;
  const CheckedCall once = checker.Check(kProblem, solved.io, 0);
  solved.At(1, 3, 1) += 100;
  EXPECT_NEAR(checker.Check(kProblem, solved.io, 0).rel_l1, 2 * once.rel_l1, 1e-5 * once.rel_l1);
}

TEST(RowChecker, FindsANanInAnyRow) {
  Solved solved;
  solved.At(0, 17, 1) = NAN;
  EXPECT_FALSE(CheckerOf(1e-6).Check(kProblem, solved.io, 0).finite);
}

TEST(RowChecker, DrawsOtherRowsForOtherCallsAndTheSameForTheSame) {
  Solved solved;
  for (int64_t token = 0; token < 20; ++token) solved.At(0, 2 * token, 0) += 100;  // half of the rows of one head
  RowChecker checker = CheckerOf(0.05);
  std::vector<double> found;
  for (int64_t call = 0; call < 20; ++call) found.push_back(checker.Check(kProblem, solved.io, call).rel_l1);
  EXPECT_NE(found, std::vector<double>(20, found[0]));
  SetThreads(1);
  RowChecker alone = CheckerOf(0.05, 1);
  for (int64_t call = 0; call < 20; ++call) {
    EXPECT_EQ(alone.Check(kProblem, solved.io, call).rel_l1, found[static_cast<size_t>(call)]);
  }
  SetThreads(0);
}

TEST(RowChecker, OfAProblemWithAGateLooksForNanOnly) {
  Solved solved;
  AttentionProblem gated = kProblem;
  gated.has_gate = true;
  solved.At(0, 0, 0) += 100;
  const CheckedCall checked = CheckerOf(1).Check(gated, solved.io, 0);
  EXPECT_EQ(checked.rows, 0);
  EXPECT_EQ(checked.rel_l1, 0);
  EXPECT_TRUE(checked.finite);
}

// A kernel gone wrong: from the second call on, its first output is `spoil`.
struct SpoiltPlan final : AttentionPlan {
  SpoiltPlan(const AttentionProblem& problem, const Device& device, float value)
      : right(MakePlan(AttentionRegistry::BuiltIn().Find("torch_sdpa"), problem, device, {})), spoil(value) {}
  size_t workspace_bytes() const noexcept override { return right->workspace_bytes(); }
  void Run(const AttentionIO& io, std::span<std::byte> workspace) noexcept override {
    right->Run(io, workspace);
    if (calls++ > 0) *static_cast<float*>(io.out.elements) = spoil;
  }
  std::unique_ptr<AttentionPlan> right;
  float spoil;
  int calls = 0;
};

template <int value>
AttentionBackend Spoilt() {
  AttentionBackend backend = AttentionRegistry::BuiltIn().Find("torch_sdpa");
  backend.name = "spoilt";
  backend.aliases = "";
  backend.plan = [](const AttentionProblem& problem, const Device& device, const Options&) {
    return std::unique_ptr<AttentionPlan>(
        std::make_unique<SpoiltPlan>(problem, device, value == 0 ? NAN : static_cast<float>(value)));
  };
  return backend;
}

std::vector<SiteProblem> Sites() {
  std::vector<SiteProblem> sites(1);
  sites[0].site = {"transformer", AttentionRole::kSelf, 0};
  sites[0].problem = ParseAttentionProblem("f32 b1 h2/2 d16 q30 kv30");
  return sites;
}

class Checked : public testing::Test {
 protected:
  void Prepare(const AttentionBackend& backend, CheckAction action) {
    registry_ = std::make_unique<AttentionRegistry>(
        std::vector<const AttentionBackend*>{&backend, &AttentionRegistry::BuiltIn().Find("fa")});
    context_ = std::make_unique<AttentionContext>(
        CpuDevice(),
        AttentionSchedule::FromBackendNames("spoilt", ChoiceSource::kCommandLine, Fidelity::kExact, {}, *registry_),
        *registry_);
    context_->SetCheck({.rate = 1, .tolerance = std::nullopt, .action = action});
    context_->Prepare(sites_);
    workspace_.Reserve(context_->WorkspaceBytes(sites_));
  }
  void Run() { context_->Run(sites_[0].site, sites_[0].problem, attention_.NewIO(), workspace_); }
  std::string DeviationNow() { return Deviation(attention_, truth_, Fidelity::kExact); }

  const std::vector<SiteProblem> sites_ = Sites();
  AttentionCase attention_{{.problem = sites_[0].problem, .seed = 8}};
  AttentionTruth truth_ = SolveInDoubles(attention_);
  std::unique_ptr<AttentionRegistry> registry_;
  std::unique_ptr<AttentionContext> context_;
  Workspace workspace_;
};

TEST_F(Checked, AReportLeavesTheResultAlone) {
  const AttentionBackend spoilt = Spoilt<100>();
  Prepare(spoilt, CheckAction::kReport);
  Run();
  EXPECT_EQ(DeviationNow(), "");
  Run();
  EXPECT_NE(DeviationNow(), "");
  context_->CheckRuns();
  const auto records = context_->Records();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].check.calls, 2);
  EXPECT_EQ(records[0].check.rows, 120);
  EXPECT_EQ(records[0].check.failures, 1);
  EXPECT_GT(records[0].check.worst, 0.1);
  EXPECT_FALSE(records[0].check.demoted);
}

TEST_F(Checked, ADemotedSiteGoesOnWithAnExactBackend) {
  const AttentionBackend spoilt = Spoilt<0>();
  Prepare(spoilt, CheckAction::kDemote);
  for (int call = 0; call < 4; ++call) {
    Run();
    EXPECT_EQ(DeviationNow(), "") << "call " << call;
  }
  const auto records = context_->Records();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].backend->name, "spoilt");
  EXPECT_EQ(records[0].calls, 2);
  EXPECT_EQ(records[0].check.not_finite, 1);
  EXPECT_TRUE(records[0].check.demoted);
  EXPECT_EQ(records[1].backend->name, "fa");
  EXPECT_EQ(records[1].why, "in place of one that failed its check");
  EXPECT_EQ(records[1].calls, 3);
  EXPECT_EQ(records[1].check.failures, 0);
}

TEST_F(Checked, AnAbortNamesBackendAndSite) {
  const AttentionBackend spoilt = Spoilt<100>();
  Prepare(spoilt, CheckAction::kAbort);
  Run();
  context_->CheckRuns();
  Run();
  EXPECT_THAT(ErrorOf([&] { context_->CheckRuns(); }),
              testing::AllOf(HasSubstr("'spoilt'"), HasSubstr("transformer.self.0"), HasSubstr("relative L1")));
}

TEST_F(Checked, NothingIsAllocatedByChecksAndDemotions) {
  const AttentionBackend spoilt = Spoilt<100>();
  Prepare(spoilt, CheckAction::kDemote);
  const AttentionIO io = attention_.NewIO();
  const int64_t before = AllocationsOfThisThread();
  for (int call = 0; call < 4; ++call) context_->Run(sites_[0].site, sites_[0].problem, io, workspace_);
  EXPECT_EQ(AllocationsOfThisThread(), before);
}

}  // namespace
}  // namespace tessera
