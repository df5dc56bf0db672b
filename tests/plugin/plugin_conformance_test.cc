// Backends of shared libraries are held to the same grid as those that are built in: what their sheets and checks
// accept is right to their fidelity.
#include <gtest/gtest.h>

#include "attention/rules.h"
#include "conformance/attention_grid.h"
#include "platform/cpu/cpu.h"
#include "plugin/vendor_run.h"

namespace tessera {
namespace {

constexpr int kCases = 315;

class Conformance : public ::testing::Test {
 protected:
  // How many problems the backend took.
  static int CheckAll(const AttentionBackend& backend) {
    int taken = 0;
    for (const CaseSpec& spec : AttentionGrid(kCases)) {
      if (spec.plan != PlanKind::kNone && !backend.caps.walks_blocks) continue;
      if (!Refusals(backend, spec.problem, CpuDevice()).empty()) continue;
      ++taken;
      Check(backend, spec);
      if (HasFailure()) break;
    }
    return taken;
  }

 private:
  static void Check(const AttentionBackend& backend, const CaseSpec& spec) {
    SCOPED_TRACE(std::string(backend.name) + ": " + spec.ToString());
    AttentionCase attention(spec);
    const auto plan = MakePlan(backend, spec.problem, CpuDevice(), {});
    const AttentionIO io = attention.NewIO();
    GuardedMemory workspace(plan->workspace_bytes(), 64);
    plan->BeginStep(0);
    plan->Run(io, workspace.bytes());
    ASSERT_EQ(plan->failure(), "");
    ASSERT_EQ(Deviation(attention, SolveInDoubles(attention), backend.caps.fidelity), "");
  }
};

TEST_F(Conformance, TheExamplesPlainLoopsAreExact) {
  const auto plugin = AttentionPlugin::Load(TESSERA_EXAMPLE_PLUGIN);
  EXPECT_GE(CheckAll(*plugin->backends()[0]), 100);
}

TEST_F(Conformance, TheAdapterOfAiterIsExact) {
  OpenStandIn("libamdhip64.so");
  OpenStandIn("libattn_aiter_shim.so");
  const auto plugin = LoadAdapter("tessera_aiter.so");
  EXPECT_GE(CheckAll(*plugin->backends()[0]), 25);
}

TEST_F(Conformance, TheAdapterOfFiaIsExact) {
  for (const char* library : {"libascendcl.so", "libnnopbase.so", "libopapi.so"}) OpenStandIn(library);
  const auto plugin = LoadAdapter("tessera_fia.so");
  EXPECT_GE(CheckAll(*plugin->backends()[0]), 25);
}

}  // namespace
}  // namespace tessera
