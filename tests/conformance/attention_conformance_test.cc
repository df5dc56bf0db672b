// Every backend, every problem, every instruction set of this machine: what the rules accept must be right, what they
// refuse must be refused by name with their reasons.
#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

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
constexpr int kParts = 15;  // tests that share the grid, so that a failure does not hide the others

std::vector<std::byte> Bytes(const AttentionCase& attention) {
  const auto out = attention.out().memory->bytes();
  const auto lse = std::as_bytes(attention.lse());
  std::vector<std::byte> bytes(out.begin(), out.end());
  bytes.insert(bytes.end(), lse.begin(), lse.end());
  return bytes;
}

void RunOnce(AttentionPlan& plan, AttentionCase& attention) {
  const AttentionIO io = attention.NewIO();
  GuardedMemory workspace(plan.workspace_bytes(), 64);
  plan.BeginStep(0);
  plan.Run(io, workspace.bytes());
}

// Runs with one and with two threads; the results must agree to the byte.
void ExpectServes(const AttentionBackend& backend, AttentionCase& attention, const AttentionTruth& truth) {
  std::vector<std::byte> single;
  for (const int threads : {1, 2}) {
    SetThreads(threads);
    const auto plan = MakePlan(backend, attention.problem(), CpuDevice(), {});
    ASSERT_NE(plan, nullptr);
    RunOnce(*plan, attention);
    ASSERT_EQ(Deviation(attention, truth, backend.caps.fidelity, backend.caps.quantized_bits), "")
        << threads << " threads";
    if (threads == 1) single = Bytes(attention);
    ASSERT_TRUE(single == Bytes(attention)) << "two threads give other bytes than one";
  }
}

void ExpectRefusedByName(const AttentionBackend& backend, const AttentionProblem& problem,
                         const std::vector<std::string_view>& reasons) {
  const AttentionRequest request{{std::string(backend.name)}, ChoiceSource::kForced, Fidelity::kSparse, {}};
  try {
    Select(problem, CpuDevice(), request, AttentionRegistry::BuiltIn(), "conformance");
    FAIL() << backend.name << " served what the rules refuse";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    for (const std::string_view reason : reasons) {
      EXPECT_NE(std::string_view(error.what()).find(reason), std::string_view::npos)
          << reason << " not in: " << error.what();
    }
  }
}

// What a sparse method leaves out is its own affair: its planner has tests of its own.
bool Judgeable(const AttentionBackend& backend, const CaseSpec& spec) {
  return backend.caps.fidelity != Fidelity::kSparse && (spec.plan == PlanKind::kNone || backend.caps.walks_blocks);
}

void CheckCase(const CaseSpec& spec) {
  AttentionCase attention(spec);
  const AttentionTruth truth = SolveInDoubles(attention);
  for (const Isa isa : MachineIsas()) {
    SetActiveIsa(isa);
    for (const AttentionBackend* backend : AttentionRegistry::BuiltIn().backends()) {
      SCOPED_TRACE(std::string(backend->name) + " on " + std::string(Name(isa)) + ": " + spec.ToString());
      const auto reasons = Refusals(*backend, spec.problem, CpuDevice());
      if (!reasons.empty()) {
        ExpectRefusedByName(*backend, spec.problem, reasons);
      } else if (Judgeable(*backend, spec)) {
        ExpectServes(*backend, attention, truth);
      }
    }
  }
}

class AttentionConformance : public ::testing::TestWithParam<int> {};

TEST_P(AttentionConformance, AcceptedProblemsAreSolvedAndOthersRefused) {
  const RestoreMachine restore;
  const auto grid = AttentionGrid(kCases);
  for (size_t i = static_cast<size_t>(GetParam()); i < grid.size(); i += kParts) {
    CheckCase(grid[i]);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Grid, AttentionConformance, ::testing::Range(0, kParts));

TEST(AttentionConformance, SmallProblemsOfTheSharedFileAreSolved) {
  const RestoreMachine restore;
  for (const std::string& line : ProblemLines(TESSERA_SOURCE_FOLDER "/tests/inputs/attention.txt")) {
    const AttentionProblem problem = ParseAttentionProblem(line);
    if (problem.flops() < 3e8) CheckCase({.problem = problem, .seed = 5});
    if (HasFailure()) return;
  }
}

TEST(AttentionConformance, GridHasEveryMaskDtypeAndPlan) {
  const auto grid = AttentionGrid(kCases);
  const auto count = [&](auto matches) { return std::count_if(grid.begin(), grid.end(), matches); };
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    EXPECT_GE(count([&](const CaseSpec& s) { return s.problem.dtype == dtype; }), 200);
  }
  for (const MaskFeature mask : {kMaskCausal, kMaskCausalTopLeft, kMaskKeyLengths, kMaskVarlen, kMaskBias}) {
    EXPECT_GE(count([&](const CaseSpec& s) { return (s.problem.mask & mask) != 0; }), 100);
  }
  for (const PlanKind plan : {PlanKind::kShared, PlanKind::kPermuted, PlanKind::kPerHead, PlanKind::kQueryMasks}) {
    EXPECT_GE(count([&](const CaseSpec& s) { return s.plan == plan; }), 15);
  }
  EXPECT_GE(count([](const CaseSpec& s) { return s.problem.heads != s.problem.kv_heads; }), 200);
  EXPECT_GE(count([](const CaseSpec& s) { return s.problem.q_len != s.problem.kv_len; }), 200);
}

}  // namespace
}  // namespace tessera
