#include "attention/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "attention/registry.h"
#include "base/text.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

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

TEST(AttentionReport, TableHasARowPerBackend) {
  const std::string table = PrintBackends(AttentionRegistry::BuiltIn().backends(), ReportFormat::kText);
  EXPECT_EQ(Split(table, '\n').size(), AttentionRegistry::BuiltIn().backends().size() + 2);
  for (const AttentionBackend* backend : AttentionRegistry::BuiltIn().backends())
    EXPECT_THAT(table, HasSubstr(std::string(backend->summary)));
  EXPECT_THAT(table, HasSubstr("sdpa, native"));
}

TEST(AttentionReport, MarkdownIsATable) {
  const auto lines = Split(PrintBackends(AttentionRegistry::BuiltIn().backends(), ReportFormat::kMarkdown), '\n');
  EXPECT_THAT(lines[0], StartsWith("| backend | aliases |"));
  EXPECT_THAT(lines[1], StartsWith("|---|---|"));
  const auto bars = [](const std::string& line) { return std::count(line.begin(), line.end(), '|'); };
  for (size_t i = 0; i + 1 < lines.size(); ++i) EXPECT_EQ(bars(lines[i]), bars(lines[0]));
}

TEST(AttentionReport, JsonHoldsTheDataSheet) {
  const nlohmann::json all = BackendsToJson(AttentionRegistry::BuiltIn().backends());
  ASSERT_EQ(all.size(), AttentionRegistry::BuiltIn().backends().size());
  for (const auto& backend : all) {
    const AttentionCaps& caps = AttentionRegistry::BuiltIn().Find(backend["name"].get<std::string>()).caps;
    EXPECT_EQ(backend["lse"].get<bool>(), caps.lse);
    EXPECT_EQ(backend["head_dims"]["largest"].get<int>(), caps.head_dims.largest);
    EXPECT_EQ(backend["fidelity"].get<std::string>(), Name(caps.fidelity));
  }
}

TEST(AttentionReport, EqualNeighboursAreOneRow) {
  const auto selected = Selected();
  const std::string table = PrintSelections(selected, ReportFormat::kText);
  EXPECT_EQ(Split(table, '\n').size(), 4u);
  EXPECT_THAT(table, HasSubstr("transformer.joint x5"));
  EXPECT_THAT(table, HasSubstr("asked for by --attention-backend"));
  EXPECT_THAT(table, HasSubstr("fa: not asked for"));
  EXPECT_THAT(table, HasSubstr("vae.vae.0"));
  EXPECT_THAT(table, HasSubstr("fa: head dim"));
  EXPECT_THAT(table, Not(HasSubstr("layer=")));
}

TEST(AttentionReport, JsonListsTheLayersAndTheReasons) {
  const nlohmann::json all = SelectionsToJson(Selected());
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["layers"], (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_EQ(all[0]["backend"], "torch_sdpa");
  EXPECT_EQ(all[1]["rejected"]["fa"], (std::vector<std::string>{"head dim"}));
}

TEST(AttentionReport, RecordsShowCallsAndSpeed) {
  AttentionRecord record;
  record.site.component = "transformer";
  record.site.role = AttentionRole::kJoint;
  record.problem = ParseAttentionProblem("f32 h1 d64 q1000 kv1000");
  record.backend = &AttentionRegistry::BuiltIn().Find("fa");
  record.layers = 3;
  record.calls = 30;
  record.seconds = 0.5;
  const std::string table = PrintRecords({&record, 1}, ReportFormat::kText);
  EXPECT_THAT(table, HasSubstr("transformer.joint x3"));
  EXPECT_THAT(table, HasSubstr("500 ms"));
  EXPECT_THAT(table, HasSubstr("15 GFLOP/s"));
  EXPECT_EQ(RecordsToJson({&record, 1})[0]["calls"], 30);
}

}  // namespace
}  // namespace tessera
