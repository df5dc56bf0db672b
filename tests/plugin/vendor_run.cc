#include "plugin/vendor_run.h"

#include <dlfcn.h>

#include <gtest/gtest.h>

#include "attention/rules.h"
#include "base/text.h"
#include "platform/cpu/cpu.h"

namespace tessera {

void* OpenStandIn(const std::string& name) {
  void* library = dlopen((std::string(TESSERA_STAND_INS) + "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
  EXPECT_NE(library, nullptr) << dlerror();
  return library;
}

void* StandInSymbol(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  EXPECT_NE(symbol, nullptr) << name;
  return symbol;
}

std::shared_ptr<const AttentionPlugin> LoadAdapter(const std::string& library) {
  return AttentionPlugin::Load(std::string(TESSERA_PLUGINS) + "/" + library);
}

std::string RunOn(const AttentionBackend& backend, const std::string& line, const Options& options) {
  AttentionCase attention({.problem = ParseAttentionProblem(line), .layout = Layout::kGaps, .seed = 3});
  const auto reasons = Refusals(backend, attention.problem(), CpuDevice());
  if (!reasons.empty()) return "refused: " + std::string(reasons[0]);
  const auto plan = MakePlan(backend, attention.problem(), CpuDevice(), options);
  const AttentionIO io = attention.NewIO();
  GuardedMemory workspace(plan->workspace_bytes(), 64);
  plan->Run(io, workspace.bytes());
  if (!plan->failure().empty()) return "failed: " + std::string(plan->failure());
  return Deviation(attention, SolveInDoubles(attention), backend.caps.fidelity);
}

}  // namespace tessera
