// Planners with kernels: one backend that can what both can, decides in the planner and computes in the kernel.
#include "attention/composition.h"

#include <array>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/fake_backends.h"
#include "attention/registry.h"
#include "attention/selector.h"
#include "base/error.h"
#include "platform/cpu/cpu.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

// Every query sees the keys of its own block of four.
class OwnBlocks final : public BlockPlanner {
 public:
  explicit OwnBlocks(const AttentionProblem& problem) : problem_(problem) {}

  void BeginRequest(const DenoisingOutline& outline) override {
    layers_ = outline.layers;
    const auto blocks = static_cast<int32_t>((problem_.q_len + 3) / 4);
    plan_ = {};
    plan_.q_blocks = plan_.kv_blocks = blocks;
    for (int32_t n = 0; n <= blocks; ++n) {
      plan_.q.offsets.push_back(static_cast<int32_t>(std::min<int64_t>(4 * n, problem_.q_len)));
    }
    plan_.kv.offsets = plan_.q.offsets;
    plan_.row_begin = {0};
    for (int64_t head = 0; head < problem_.batch * problem_.heads; ++head) {
      for (int32_t n = 0; n < blocks; ++n) {
        plan_.kv_list.push_back(n);
        plan_.row_begin.push_back(static_cast<int64_t>(plan_.kv_list.size()));
      }
    }
  }
  void Run(const AttentionIO& io, const AttentionKernelCall& attend, std::span<std::byte>) noexcept override {
    dense_ = io.place.layer == 0;
    AttentionIO planned = io;
    planned.blocks = decision();
    attend(planned);
  }
  const BlockPlan* decision() const noexcept override { return dense_ ? nullptr : &plan_; }
  double ExpectedDensity(int, int layer) const noexcept override { return layer == 0 ? 1 : 0.5; }

 private:
  AttentionProblem problem_;
  BlockPlan plan_;
  int layers_ = 0;
  bool dense_ = false;
};

constexpr std::array<OptionSpec, 1> kOptions = {{
    {"blocks", "how many", [] { return OptionValue(int64_t{1}); }, 1.0, 9.0, {}, "Blocks cubes"},
}};

constinit const AttentionPlanner kOwnBlocks{
    .name = "own_blocks",
    .aliases = "own",
    .summary = "each block sees itself; layer 0 is dense",
    .caps = {.devices = Bit(DeviceKind::kCpu),
             .dtypes = Bit(DType::kF32),
             .head_dims = {1, 1024, 1},
             .grouped_kv = true,
             .lse = true,
             .fidelity = Fidelity::kSparse},
    .options = kOptions,
    .option_prefix = "ob_",
    .option_group = "own_config",
    .speedup = [](const AttentionProblem&) { return 2.0; },
    .plan = [](const AttentionProblem& problem, const Device&, const Options&) -> std::unique_ptr<BlockPlanner> {
      return std::make_unique<OwnBlocks>(problem);
    },
};

AttentionRegistry WithOwnBlocks() {
  const auto built_in = AttentionRegistry::BuiltIn().backends();
  std::vector<const AttentionBackend*> kernels;
  for (const AttentionBackend* backend : built_in) {
    if (backend->planner == nullptr) kernels.push_back(backend);
  }
  return AttentionRegistry(kernels, {&kOwnBlocks});
}

AttentionProblem Small() { return {.heads = 2, .kv_heads = 1, .head_dim = 8, .q_len = 10, .kv_len = 10}; }

struct Solved {
  std::vector<float> out = std::vector<float>(160), lse = std::vector<float>(20);
};

Solved Solve(AttentionPlan& plan, const AttentionProblem& problem, int layer) {
  std::vector<float> q(160), k(80), v(80);
  for (size_t i = 0; i < q.size(); ++i) q[i] = std::sin(static_cast<float>(i));
  for (size_t i = 0; i < k.size(); ++i) k[i] = std::cos(static_cast<float>(3 * i)), v[i] = static_cast<float>(i % 7);
  Solved solved;
  AttentionIO io;
  io.q = {q.data(), 160, 16, 8};
  io.k = {k.data(), 80, 8, 8};
  io.v = {v.data(), 80, 8, 8};
  io.out = {solved.out.data(), 160, 16, 8};
  io.lse = problem.needs_lse ? solved.lse.data() : nullptr;
  io.place.layer = layer;
  std::vector<std::byte> memory(plan.workspace_bytes() + 64);
  auto* begin = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  plan.Run(io, {begin, plan.workspace_bytes()});
  return solved;
}

TEST(Composition, APlannerAloneHasTheFirstKernelThatWalksBlocks) {
  const AttentionRegistry registry = WithOwnBlocks();
  const AttentionBackend& alone = registry.Find("OWN");
  EXPECT_EQ(alone.name, "own_blocks");
  EXPECT_EQ(alone.kernel->name, "fa");
  EXPECT_EQ(registry.backends().back(), &alone);
  EXPECT_EQ(alone.caps.fidelity, Fidelity::kSparse);
}

TEST(Composition, PairsAreFoundByAnySpelling) {
  const AttentionRegistry registry = WithOwnBlocks();
  const AttentionBackend& pair = registry.Find("own+SAGE");
  EXPECT_EQ(pair.name, "own_blocks+sage_attn");
  EXPECT_EQ(pair.kernel->name, "sage_attn");
}

TEST(Composition, PairsThatCannotBeSayWhy) {
  const AttentionRegistry registry = WithOwnBlocks();
  EXPECT_THAT(ErrorOf([&] { registry.Find("fa+sage_attn"); }), HasSubstr("'fa' is no planner"));
  EXPECT_THAT(ErrorOf([&] { registry.Find("own+own"); }), HasSubstr("'own_blocks' is no kernel"));
  EXPECT_THAT(ErrorOf([&] { registry.Find("own+nothing"); }), HasSubstr("no attention backend named 'nothing'"));
}

TEST(Composition, CanWhatBothCan) {
  const AttentionRegistry registry = WithOwnBlocks();
  AttentionProblem problem = Small();
  const AttentionRequest request{{"own+sage"}, ChoiceSource::kForced, Fidelity::kExact, {}};
  EXPECT_EQ(Select(problem, CpuDevice(), request, registry, "site").backend->name, "own_blocks+sage_attn");
  problem.mask = kMaskCausal;
  EXPECT_THAT(ErrorOf([&] { Select(problem, CpuDevice(), request, registry, "site"); }), HasSubstr("causal mask"));
}

TEST(Composition, TheKernelWalksWhatThePlannerDecides) {
  const AttentionRegistry registry = WithOwnBlocks();
  const auto plan = MakePlan(registry.Find("own"), Small(), CpuDevice(), {});
  plan->BeginRequest({.steps = 2, .layers = 3});
  const Solved dense = Solve(*plan, Small(), 0);
  EXPECT_EQ(plan->density(), 1);
  EXPECT_EQ(plan->decision(), nullptr);
  const Solved sparse = Solve(*plan, Small(), 1);
  EXPECT_DOUBLE_EQ(plan->density(), (16 + 16 + 4) / 100.0);
  EXPECT_NE(plan->decision(), nullptr);
  EXPECT_NE(dense.out, sparse.out);
  EXPECT_EQ(plan->ExpectedDensity(-1, 1), 0.5);
}

TEST(Composition, TakesTheOptionsOfBothPartsByAnySpelling) {
  const AttentionRegistry registry = WithOwnBlocks();
  const AttentionBackend& pair = registry.Find("own+sage");
  Options given;
  given.Set("ob_cubes", int64_t{3});
  given.Set("pv", std::string("fp16"));
  const Options resolved = ResolveOptions(pair, given);
  EXPECT_EQ(std::get<int64_t>(*resolved.Find("blocks")), 3);
  EXPECT_EQ(std::get<std::string>(*resolved.Find("pv")), "fp16");
  given.Set("blocks", int64_t{4});
  EXPECT_THAT(ErrorOf([&] { ResolveOptions(pair, given); }), HasSubstr("given twice"));
  Options of_kernel_alone;
  of_kernel_alone.Set("blocks", int64_t{3});
  EXPECT_THAT(ErrorOf([&] { ResolveOptions(registry.Find("sage"), of_kernel_alone); }), HasSubstr("not known"));
}

}  // namespace
}  // namespace tessera
