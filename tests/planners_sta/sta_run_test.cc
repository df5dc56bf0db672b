// Running: nothing is allocated, and threads do not matter.
#include <gtest/gtest.h>

#include "attention/allocation_count.h"
#include "attention/registry.h"
#include "parallel/parallel_for.h"
#include "planners_sta/sta_call.h"
#include "platform/cpu/cpu.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

constexpr const char* kStrategy =
    R"({"0_0_0": [1, 1, 1], "0_0_1": [1, 3, 1], "1_0_0": [1, 3, 3], "1_0_1": [1, 1, 3], "2_0_0": [1, 5, 5],
        "2_0_1": [1, 3, 5], "3_0_0": [1, 1, 1]})";

class StaRun : public testing::Test {
 protected:
  ~StaRun() override { SetThreads(0); }

  std::unique_ptr<AttentionPlan> NewPlan(const std::string& mode) const {
    Options options;
    options.Set("tile_size", std::vector<double>{1, 2, 2});
    options.Set("sta_mode", mode);
    if (mode == "STA_inference") options.Set("mask_strategy_file_path", file_.native());
    if (mode == "STA_inference") options.Set("skip_time_steps", int64_t{0});
    auto plan = MakePlan(AttentionRegistry::BuiltIn().Find("sliding_tile_attn"), problem_, CpuDevice(), options);
    plan->BeginRequest({.steps = 5, .layers = 1});
    return plan;
  }

  const AttentionProblem problem_ = F32Problem("f32 b2 h2 d16 q117 kv117 mask=lens lse grid=1x10x9+7+20");
  const TemporaryFolder folder_;
  const std::filesystem::path file_ = folder_.Write("strategy.json", kStrategy);
};

TEST_F(StaRun, AllocatesNothing) {
  for (const std::string mode : {"STA_inference", "STA_searching"}) {
    StaCall call(problem_, 1);
    const auto plan = NewPlan(mode);
    call.Reserve(plan->workspace_bytes());
    call.Run(*MakePlan(AttentionRegistry::BuiltIn().Find("fa"), problem_, CpuDevice(), {}));  // starts the threads
    const int64_t before = AllocationsOfThisThread();
    for (const int step : {0, 1, 2, 3, 4, 0}) {
      plan->BeginStep(step);
      call.Run(*plan);
    }
    EXPECT_EQ(AllocationsOfThisThread(), before) << mode;
  }
}

TEST_F(StaRun, ThreadsDoNotMatter) {
  for (const std::string mode : {"STA_inference", "STA_searching"}) {
    std::vector<float> out, lse;
    std::string findings;
    for (const int threads : {1, 2, 5}) {
      SetThreads(threads);
      StaCall call(problem_, 1);
      const auto plan = NewPlan(mode);
      plan->BeginStep(1);
      call.Run(*plan);
      if (threads == 1) out = call.out, lse = call.lse, findings = plan->Findings();
      EXPECT_EQ(call.out, out) << mode << ", " << threads << " threads";
      EXPECT_EQ(call.lse, lse) << mode << ", " << threads << " threads";
      EXPECT_EQ(plan->Findings(), findings) << mode << ", " << threads << " threads";
    }
  }
}

TEST_F(StaRun, EqualWindowsKeepTheDecision) {
  const auto plan = NewPlan("STA_inference");
  StaCall call(problem_, 1);
  plan->BeginStep(0);
  call.Run(*plan);
  const BlockPlan* first = plan->decision();
  const auto list = first->kv_list;
  call.Run(*plan);
  EXPECT_EQ(plan->decision(), first);
  EXPECT_EQ(first->kv_list, list);
  plan->BeginStep(1);
  call.Run(*plan);
  EXPECT_NE(first->kv_list, list);
  plan->BeginStep(0);
  call.Run(*plan);
  EXPECT_EQ(first->kv_list, list);
}

}  // namespace
}  // namespace tessera
