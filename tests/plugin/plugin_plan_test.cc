// What a plug-in is given when it plans and runs, and what becomes of its failures.
#include <array>
#include <cstdio>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/layer.h"
#include "attention/plugin.h"
#include "attention/registry.h"
#include "base/error.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

// What the plug-in of this test remembers; one plan at a time.
struct tessera_attention_plan {
  tessera_attention_problem problem{};
  std::string settings;
  tessera_attention_io io{};
  tessera_attention_blocks blocks{};
  std::vector<int64_t> items;
  int runs = 0;
};

namespace tessera {
namespace {

using ::testing::HasSubstr;

struct Behaviour {
  int plan_code = TESSERA_ATTENTION_OK, run_code = TESSERA_ATTENTION_OK;
  const char* text = "";
  const char* reason = nullptr;
  int plans_alive = 0;
  tessera_attention_plan* last = nullptr;
};

Behaviour& Now() {
  static Behaviour behaviour;
  return behaviour;
}

const char* Check(const tessera_attention_problem*) { return Now().reason; }

int Create(const tessera_attention_problem* problem, const tessera_attention_setting* settings, uint32_t count,
           tessera_attention_plan** plan, char* error, size_t error_bytes) {
  std::snprintf(error, error_bytes, "%s", Now().text);
  if (Now().plan_code != TESSERA_ATTENTION_OK) return Now().plan_code;
  *plan = Now().last = new tessera_attention_plan;
  (*plan)->problem = *problem;
  for (uint32_t i = 0; i < count; ++i) {
    (*plan)->settings += std::string(settings[i].key) + "=" + settings[i].value + ";";
  }
  ++Now().plans_alive;
  return TESSERA_ATTENTION_OK;
}

size_t WorkspaceBytes(const tessera_attention_plan*) { return 128; }

int Run(tessera_attention_plan* plan, const tessera_attention_io* io, void* workspace, char* error,
        size_t error_bytes) {
  std::memset(workspace, 1, 128);
  plan->io = *io;
  if (io->blocks != nullptr) plan->blocks = *io->blocks;
  plan->items.assign(10, 0);
  const auto body = [](void* items, int64_t item, int32_t) { static_cast<int64_t*>(items)[item] += item; };
  io->parallel(10, body, plan->items.data());
  ++plan->runs;
  std::snprintf(error, error_bytes, "%s", Now().text);
  return Now().run_code;
}

void Destroy(tessera_attention_plan* plan) {
  delete plan;
  --Now().plans_alive;
}

constexpr tessera_attention_option kOptions[] = {
    {sizeof(tessera_attention_option), TESSERA_ATTENTION_OPTION_BOOL, "eager", "", "true", 0, 0, 0, nullptr},
    {sizeof(tessera_attention_option), TESSERA_ATTENTION_OPTION_FLOAT, "share", "", "0.25", 0, 0, 0, nullptr},
    {sizeof(tessera_attention_option), TESSERA_ATTENTION_OPTION_TEXT, "way", "", "a", 0, 0, 0, "a|b"}};
constexpr const tessera_attention_option* kOptionList[] = {&kOptions[0], &kOptions[1], &kOptions[2]};

constexpr tessera_attention_backend kBackend = {
    .struct_size = sizeof(tessera_attention_backend),
    .devices = TESSERA_ATTENTION_CPU,
    .dtypes = TESSERA_ATTENTION_F32 | TESSERA_ATTENTION_BF16,
    .masks =
        TESSERA_ATTENTION_CAUSAL | TESSERA_ATTENTION_KEY_LENGTHS | TESSERA_ATTENTION_VARLEN | TESSERA_ATTENTION_BIAS,
    .abilities =
        TESSERA_ATTENTION_GROUPED_KV | TESSERA_ATTENTION_CROSS | TESSERA_ATTENTION_LSE | TESSERA_ATTENTION_WALKS_BLOCKS,
    .fidelity = TESSERA_ATTENTION_EXACT,
    .name = "remembering",
    .summary = "",
    .head_dim_least = 1,
    .head_dim_most = 64,
    .head_dim_step = 1,
    .option_count = 3,
    .options = kOptionList,
    .speed = 100,
    .check = Check,
    .plan_create = Create,
    .plan_workspace = WorkspaceBytes,
    .plan_run = Run,
    .plan_destroy = Destroy,
};
constexpr const tessera_attention_backend* kBackends[] = {&kBackend};
constexpr tessera_attention_library kLibrary = {sizeof(tessera_attention_library), 1, kBackends};

class PluginPlanTest : public ::testing::Test {
 protected:
  PluginPlanTest() { Now() = {}; }
  ~PluginPlanTest() override { EXPECT_EQ(Now().plans_alive, 0); }

  std::unique_ptr<AttentionPlan> PlanFor(const std::string& line, const Options& options = {}) {
    return MakePlan(*plugin_->backends()[0], ParseAttentionProblem(line), CpuDevice(), options);
  }
  static void RunPlan(AttentionPlan& plan, const AttentionIO& io) {
    alignas(64) std::array<std::byte, 128> workspace{};
    ASSERT_EQ(plan.workspace_bytes(), workspace.size());
    plan.Run(io, workspace);
  }

  const std::shared_ptr<const AttentionPlugin> plugin_ = std::make_shared<const AttentionPlugin>("own.so", &kLibrary);
};

TEST_F(PluginPlanTest, GetsTheProblem) {
  const auto plan = PlanFor("bf16 b2 h6/3 d40 q7 kv9 mask=causal+lens scale=0.5 lse grid=1x2x3+1+2");
  const tessera_attention_problem& p = Now().last->problem;
  EXPECT_EQ(p.struct_size, sizeof p);
  EXPECT_EQ(p.device, uint32_t{TESSERA_ATTENTION_CPU});
  EXPECT_EQ(p.dtype, uint32_t{TESSERA_ATTENTION_BF16});
  EXPECT_EQ(p.mask, uint32_t{TESSERA_ATTENTION_CAUSAL} | uint32_t{TESSERA_ATTENTION_KEY_LENGTHS});
  EXPECT_EQ(std::vector<int64_t>({p.batch, p.heads, p.kv_heads, p.head_dim, p.q_len, p.kv_len, p.needs_lse}),
            std::vector<int64_t>({2, 6, 3, 40, 7, 9, 1}));
  EXPECT_EQ(p.scale, 0.5f);
  EXPECT_EQ(p.threads, CpuDevice().threads);
  EXPECT_EQ(std::vector<int64_t>({p.grid_t, p.grid_h, p.grid_w, p.grid_prefix, p.grid_suffix}),
            std::vector<int64_t>({1, 2, 3, 1, 2}));
}

TEST_F(PluginPlanTest, GetsTheScaleAlsoWhenTheProblemLeavesItOpen) {
  const auto plan = PlanFor("f32 b1 h1/1 d16 q4 kv4");
  EXPECT_EQ(Now().last->problem.scale, 0.25f);
}

TEST_F(PluginPlanTest, GetsEveryOptionAsText) {
  Options options;
  options.Set("eager", false);
  options.Set("way", std::string("b"));
  const auto plan = PlanFor("f32 b1 h1/1 d16 q4 kv4", options);
  EXPECT_EQ(Now().last->settings, "eager=false;share=0.25;way=b;");
}

TEST_F(PluginPlanTest, GetsTheOperands) {
  const auto plan = PlanFor("f32 b2 h2/1 d4 q3 kv5 mask=lens lse");
  std::vector<float> elements(200), lse(12);
  const std::vector<int32_t> lengths = {4, 5};
  AttentionIO io;
  io.q = {elements.data(), 60, 20, 10};
  io.k = {elements.data() + 1, 61, 21, 11};
  io.v = {elements.data() + 2, 62, 22, 12};
  io.out = {elements.data() + 3, 63, 23, 13};
  io.lse = lse.data();
  io.key_lengths = lengths;
  io.place = {.layer = 7, .pass = 1};
  plan->BeginStep(5);
  RunPlan(*plan, io);
  const tessera_attention_io& got = Now().last->io;
  EXPECT_EQ(got.struct_size, sizeof got);
  EXPECT_EQ(got.q.elements, elements.data());
  EXPECT_EQ(got.k.seq_stride, 21);
  EXPECT_EQ(got.v.head_stride, 12);
  EXPECT_EQ(got.out.batch_stride, 63);
  EXPECT_EQ(got.out.elements, elements.data() + 3);
  EXPECT_EQ(got.lse, lse.data());
  EXPECT_EQ(got.key_lengths, lengths.data());
  EXPECT_EQ(std::vector<int32_t>({got.step, got.layer, got.pass, got.sequences}), std::vector<int32_t>({5, 7, 1, 0}));
  EXPECT_EQ(got.blocks, nullptr);
  EXPECT_EQ(plan->failure(), "");
}

TEST_F(PluginPlanTest, GetsPackedSequencesAndABias) {
  const auto plan = PlanFor("f32 b1 h2/2 d4 q8 kv8 mask=varlen+bias");
  const std::vector<int32_t> starts_q = {0, 3, 8}, starts_k = {0, 8, 8};
  std::vector<float> sums(8);
  AttentionIO io;
  const uint8_t shown = 1;
  io.lse = sums.data();
  io.cu_seqlens_q = starts_q;
  io.cu_seqlens_k = starts_k;
  io.bias = {&shown, DType::kBool, 1, 2, 3};
  RunPlan(*plan, io);
  const tessera_attention_io& got = Now().last->io;
  EXPECT_EQ(got.sequences, 2);
  EXPECT_EQ(got.cu_seqlens_q, starts_q.data());
  EXPECT_EQ(got.cu_seqlens_kv, starts_k.data());
  EXPECT_EQ(got.bias.dtype, uint32_t{TESSERA_ATTENTION_BOOL});
  EXPECT_EQ(got.bias.query_stride, 3);
  EXPECT_EQ(got.lse, nullptr) << "the problem does not need it";
}

TEST_F(PluginPlanTest, GetsThePlannersDecision) {
  const auto plan = PlanFor("f32 b1 h1/1 d4 q4 kv4");
  BlockPlan blocks;
  blocks.q_blocks = blocks.kv_blocks = 2;
  blocks.q.offsets = blocks.kv.offsets = {0, 2, 4};
  blocks.kv.permutation = {3, 2, 1, 0};
  blocks.row_begin = {0, 1, 2};
  blocks.kv_list = {0, 1};
  AttentionIO io;
  io.blocks = &blocks;
  RunPlan(*plan, io);
  const tessera_attention_blocks& got = Now().last->blocks;
  EXPECT_EQ(got.q_blocks, 2);
  EXPECT_EQ(got.q.permutation, nullptr);
  EXPECT_EQ(got.kv.permutation, blocks.kv.permutation.data());
  EXPECT_EQ(got.row_begin, blocks.row_begin.data());
  EXPECT_EQ(got.query_masks, nullptr);
}

TEST_F(PluginPlanTest, RunsEveryItemOnTheProgramsThreads) {
  const auto plan = PlanFor("f32 b1 h1/1 d4 q4 kv4");
  RunPlan(*plan, {});
  EXPECT_EQ(Now().last->items, std::vector<int64_t>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST_F(PluginPlanTest, APlanThatFailsIsAnErrorWithItsText) {
  Now().plan_code = TESSERA_ATTENTION_NO_MEMORY;
  Now().text = "no\nroom";
  try {
    PlanFor("f32 b1 h1/1 d4 q4 kv4");
    FAIL() << "planned";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kMemory);
    EXPECT_STREQ(error.what(),
                 "attention backend 'remembering' cannot plan 'f32 b1 h1/1 d4 q4 kv4 mask=none': no\\x0aroom");
  }
}

TEST_F(PluginPlanTest, TheFirstFailureOfARunStays) {
  const auto plan = PlanFor("f32 b1 h1/1 d4 q4 kv4");
  Now().run_code = 77;
  RunPlan(*plan, {});
  Now().text = "a later one";
  RunPlan(*plan, {});
  EXPECT_EQ(plan->failure(), "code 77 without a text");
}

TEST_F(PluginPlanTest, AFailedRunIsAnErrorAfterTheForwardPass) {
  const auto registry = AttentionRegistry::BuiltInWith({plugin_});
  AttentionContext context(
      CpuDevice(),
      AttentionSchedule::FromBackendNames("remembering", ChoiceSource::kCommandLine, Fidelity::kExact, {}, registry),
      registry);
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d4 q4 kv4");
  const AttentionSite site{"transformer", AttentionRole::kSelf, 3};
  context.Prepare({{site, problem}});
  Workspace workspace;
  workspace.Reserve(4096);
  context.Run(site, problem, {}, workspace);
  EXPECT_NO_THROW(context.CheckRuns());
  Now().run_code = TESSERA_ATTENTION_FAILED;
  Now().text = "the device went away";
  context.Run(site, problem, {}, workspace);
  try {
    context.CheckRuns();
    FAIL() << "nothing noticed";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("attention backend 'remembering' failed at transformer.self.3"));
    EXPECT_THAT(error.what(), HasSubstr("the device went away"));
  }
}

TEST_F(PluginPlanTest, ItsReasonRefusesAProblem) {
  Now().reason = "not on Mondays";
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d4 q4 kv4");
  EXPECT_EQ(CheckProblem(*plugin_->backends()[0], problem, CpuDevice()), "not on Mondays");
  Now().reason = "a\nb";
  EXPECT_THAT(std::string(CheckProblem(*plugin_->backends()[0], problem, CpuDevice())), HasSubstr("cannot be printed"));
}

TEST_F(PluginPlanTest, AutoTakesAPlugInThatIsFaster) {
  const auto registry = AttentionRegistry::BuiltInWith({plugin_});
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d4 q4 kv4");
  EXPECT_EQ(Select(problem, CpuDevice(), {}, registry, "here").backend->name, "remembering");
}

}  // namespace
}  // namespace tessera
