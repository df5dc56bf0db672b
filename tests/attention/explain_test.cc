#include "attention/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "attention/composition.h"
#include "attention/registry.h"
#include "base/text.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<SelectedSite> Selected() {
  std::vector<SiteProblem> sites;
  AttentionProblem joint = ParseAttentionProblem("bf16 b1 h4/4 d64 q96 kv96 role=joint");
  for (int layer = 0; layer < 5; ++layer) {
    joint.layer = layer;
    sites.push_back({{"transformer", AttentionRole::kJoint, layer}, joint});
  }
  const AttentionProblem vae = ParseAttentionProblem("f32 b1 h1/1 d512 q64 kv64 role=vae");
  sites.push_back({{"vae", AttentionRole::kVae, 0}, vae});
  return SelectSites(sites, CpuDevice(), AttentionSchedule::FromBackendNames("torch_sdpa", ChoiceSource::kCommandLine));
}

TEST(AttentionExplain, EqualSitesAreOneRow) {
  const auto selected = Selected();
  const std::string table = PrintSelections(selected, TableFormat::kText);
  EXPECT_EQ(Split(table, '\n').size(), 4u);
  EXPECT_THAT(table, HasSubstr("transformer.joint.0-4"));
  EXPECT_THAT(table, HasSubstr("asked for by --attention-backend"));
  EXPECT_THAT(table, HasSubstr("fa: not asked for"));
  EXPECT_THAT(table, HasSubstr("vae.vae.0"));
  EXPECT_THAT(table, HasSubstr("fa: head dim"));
  EXPECT_THAT(table, Not(HasSubstr("layer=")));
}

TEST(AttentionExplain, JsonListsTheLayersAndTheReasons) {
  const nlohmann::json all = SelectionsToJson(Selected());
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["layers"], (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_EQ(all[0]["backend"], "torch_sdpa");
  EXPECT_EQ(all[1]["rejected"]["fa"], (std::vector<std::string>{"head dim"}));
}

// Keeps half of the keys in even layers of the first two steps, all elsewhere.
class HalfPlanner final : public BlockPlanner {
 public:
  void Run(const AttentionIO& io, const AttentionKernelCall& attend, std::span<std::byte>) noexcept override {
    attend(io);
  }
  const BlockPlan* decision() const noexcept override { return nullptr; }
  double ExpectedDensity(int step, int layer) const noexcept override { return step < 2 && layer % 2 == 0 ? 0.5 : 1; }
};

constexpr AttentionPlanner kHalf{
    .name = "half",
    .aliases = "",
    .summary = "for tests",
    .caps = {.devices = Bit(DeviceKind::kCpu),
             .dtypes = Bit(DType::kF32),
             .head_dims = {1, 256, 1},
             .fidelity = Fidelity::kSparse},
    .options = {},
    .speedup = [](const AttentionProblem&) { return 2.0; },
    .plan = [](const AttentionProblem&, const Device&, const Options&) -> std::unique_ptr<BlockPlanner> {
      return std::make_unique<HalfPlanner>();
    }};

std::vector<SelectedSite> SelectHalf(int layers, int steps) {
  static const AttentionRegistry registry({&AttentionRegistry::BuiltIn().Find("fa")}, {&kHalf});
  std::vector<SiteProblem> sites(static_cast<size_t>(layers));
  for (int layer = 0; layer < layers; ++layer) {
    SiteProblem& site = sites[static_cast<size_t>(layer)];
    site.site.component = "transformer";
    site.site.layer = layer;
    site.problem = ParseAttentionProblem("f32 b1 h1/1 d64 q1000 kv1000");
  }
  const auto schedule =
      AttentionSchedule::FromBackendNames("half", ChoiceSource::kCommandLine, Fidelity::kExact, {}, registry);
  return SelectSites(sites, CpuDevice(), schedule, steps, registry);
}

TEST(AttentionExplain, DensitiesThatDifferAreATableOfStepsAndLayers) {
  const auto selected = SelectHalf(2, 4);
  const std::string text = PrintSelections(selected, TableFormat::kText);
  EXPECT_THAT(text,
              HasSubstr("density, step  layer 0  layer 1\n0-1            0.5000   1.0000\n2-3            1.0000"));
  const nlohmann::json json = SelectionsToJson(selected);
  ASSERT_EQ(json.size(), 1u);
  EXPECT_EQ(json[0]["density_by_step_and_layer"], nlohmann::json::parse("[[0.5, 1], [0.5, 1], [1, 1], [1, 1]]"));
  EXPECT_EQ(json[0]["density"], 0.875);
}

TEST(AttentionExplain, TheCostIsWhatRemainsAtTheSpeedOfTheKernel) {
  const nlohmann::json json = SelectionsToJson(SelectHalf(2, 4));
  EXPECT_DOUBLE_EQ(json[0]["flops"].get<double>(), 8 * 4.0 * 1000 * 1000 * 64);
  EXPECT_DOUBLE_EQ(json[0]["cost"].get<double>(), 0.875 * json[0]["flops"].get<double>());
}

TEST(AttentionExplain, AScheduleGivesARowForEachOfItsParts) {
  AttentionSchedule schedule;
  ScheduleRule rule;
  rule.steps = ParsePlaceRanges("0-1", "steps");
  rule.request.names = {"torch_sdpa"};
  rule.request.source = ChoiceSource::kSchedule;
  rule.request.rule = 7;
  schedule.AddAsked(rule);
  std::vector<SiteProblem> sites(1);
  sites[0].site.component = "transformer";
  sites[0].problem = ParseAttentionProblem("f32 b1 h1/1 d64 q64 kv64");
  const nlohmann::json json = SelectionsToJson(SelectSites(sites, CpuDevice(), schedule, 4));
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[0]["steps"], (std::vector<int>{0, 1}));
  EXPECT_EQ(json[0]["why"], "asked for by --attention-schedule, rule 7");
  EXPECT_EQ(json[1]["steps"], (std::vector<int>{2, 3}));
}

}  // namespace
}  // namespace tessera
