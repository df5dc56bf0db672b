// Every planner with every kernel, on every instruction set of this machine: what the rules accept must be exact for
// the keys the planner decided on, within the kernel's precision; what they refuse must be refused by name.
#include <gtest/gtest.h>

#include <map>

#include "attention/registry.h"
#include "attention/rules.h"
#include "attention/selector.h"
#include "base/error.h"
#include "conformance/attention_grid.h"
#include "conformance/attention_oracle.h"
#include "conformance/machine_isas.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr int kCases = 2000;
constexpr int kServedCases = 100;  // of them solved in doubles for every planner
constexpr int kParts = 10;

// A plan's decision and result; a second run with another number of threads must agree to the byte.
struct Outcome {
  std::unique_ptr<AttentionPlan> plan;
  std::vector<std::byte> bytes;
};

std::vector<std::byte> BytesOf(const AttentionCase& attention) {
  const auto out = attention.out().memory->bytes();
  const auto lse = std::as_bytes(attention.lse());
  std::vector<std::byte> bytes(out.begin(), out.end());
  bytes.insert(bytes.end(), lse.begin(), lse.end());
  return bytes;
}

Outcome RunWith(const AttentionBackend& backend, AttentionCase& attention, int threads) {
  SetThreads(threads);
  Outcome outcome{MakePlan(backend, attention.problem(), CpuDevice(), {}), {}};
  outcome.plan->BeginRequest({.steps = 20, .layers = 4, .seed = 11});
  outcome.plan->BeginStep(15);
  GuardedMemory workspace(outcome.plan->workspace_bytes(), 64);
  AttentionIO io = attention.NewIO();
  io.place.layer = 2;
  outcome.plan->Run(io, workspace.bytes());
  outcome.bytes = BytesOf(attention);
  return outcome;
}

void ExpectServes(const AttentionBackend& pair, AttentionCase& attention,
                  std::map<std::string, AttentionTruth>& truths) {
  const Outcome two = RunWith(pair, attention, 2), one = RunWith(pair, attention, 1);
  ASSERT_TRUE(one.bytes == two.bytes) << "two threads give other bytes than one";
  attention.ShowOnly(one.plan->decision());
  // Kernels of one planner share the decision, so the doubles are solved once.
  const std::string key = std::string(pair.planner->name) + Name(CpuDevice().isa).data();
  auto truth = truths.find(key);
  if (truth == truths.end()) truth = truths.emplace(key, SolveInDoubles(attention)).first;
  const AttentionCaps& kernel = pair.kernel->caps;
  ASSERT_EQ(Deviation(attention, truth->second, kernel.fidelity, kernel.quantized_bits), "");
  ASSERT_GT(one.plan->density(), 0);
  ASSERT_LE(one.plan->density(), 1 + 1e-12);
}

void ExpectRefusedByName(const AttentionBackend& pair, const AttentionProblem& problem,
                         const std::vector<std::string_view>& reasons) {
  const AttentionRequest request{{std::string(pair.name)}, ChoiceSource::kForced, Fidelity::kSparse, {}};
  try {
    Select(problem, CpuDevice(), request, AttentionRegistry::BuiltIn(), "conformance");
    FAIL() << pair.name << " served what the rules refuse";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    for (const std::string_view reason : reasons) {
      EXPECT_NE(std::string_view(error.what()).find(reason), std::string_view::npos) << reason << ": " << error.what();
    }
  }
}

class CompositionConformance : public ::testing::TestWithParam<int> {};

TEST_P(CompositionConformance, AcceptedProblemsAreSolvedForTheKeysDecidedOn) {
  const RestoreMachine restore;
  const auto grid = FilmGrid(kServedCases);
  for (size_t i = static_cast<size_t>(GetParam()); i < grid.size(); i += kParts) {
    AttentionCase attention(grid[i]);
    std::map<std::string, AttentionTruth> truths;
    for (const Isa isa : MachineIsas()) {
      SetActiveIsa(isa);
      for (const AttentionBackend* pair : AttentionRegistry::BuiltIn().compositions()) {
        SCOPED_TRACE(std::string(pair->name) + " on " + std::string(Name(isa)) + ": " + grid[i].ToString());
        if (Refusals(*pair, grid[i].problem, CpuDevice()).empty()) ExpectServes(*pair, attention, truths);
        if (HasFailure()) return;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Grid, CompositionConformance, ::testing::Range(0, kParts));

TEST(CompositionConformance, RefusalsOfTheWholeGridNameTheirReasons) {
  const RestoreMachine restore;
  for (const auto& grid : {AttentionGrid(kCases), FilmGrid(kCases)}) {
    for (const CaseSpec& spec : grid) {
      for (const AttentionBackend* pair : AttentionRegistry::BuiltIn().compositions()) {
        const auto reasons = Refusals(*pair, spec.problem, CpuDevice());
        if (!reasons.empty()) ExpectRefusedByName(*pair, spec.problem, reasons);
      }
      if (HasFailure()) return;
    }
  }
}

TEST(CompositionConformance, EveryPairServesPartOfTheGrid) {
  const auto grid = FilmGrid(kServedCases);
  for (const AttentionBackend* pair : AttentionRegistry::BuiltIn().compositions()) {
    const auto served = std::count_if(grid.begin(), grid.end(), [&](const CaseSpec& spec) {
      return Refusals(*pair, spec.problem, CpuDevice()).empty();
    });
    EXPECT_GE(served, kServedCases / 8) << pair->name;
  }
  const AttentionRegistry& registry = AttentionRegistry::BuiltIn();
  size_t kernels = 0, planners = 0;
  for (const AttentionBackend* backend : registry.backends()) (backend->planner == nullptr ? kernels : planners) += 1;
  EXPECT_EQ(registry.compositions().size(), kernels * planners);
}

}  // namespace
}  // namespace tessera
