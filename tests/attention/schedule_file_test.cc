#include "attention/schedule_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/yaml.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

AttentionSchedule ScheduleOf(const std::string& yaml) {
  AttentionSchedule schedule;
  for (const ScheduleRule& rule : ParseScheduleRules(ParseYaml(yaml, "file"), "file")) schedule.AddAsked(rule);
  return schedule;
}

AttentionRequest At(const AttentionSchedule& schedule, AttentionRole role, int layer, int step) {
  return schedule.RequestFor({"transformer", role, layer}, step, {.layers = 10, .steps = 10});
}

TEST(ScheduleFile, TheFirstRuleThatMatchesWins) {
  const AttentionSchedule schedule = ScheduleOf(R"(
- {layers: "0,-1", backend: torch_sdpa}
- {steps: 0.0-0.3, backend: fa}
- {backend: [sage_attn, fa], config: {pv: fp8}}
)");
  EXPECT_THAT(At(schedule, AttentionRole::kSelf, 9, 5).names, ElementsAre("torch_sdpa"));
  EXPECT_THAT(At(schedule, AttentionRole::kSelf, 1, 2).names, ElementsAre("fa"));
  const AttentionRequest last = At(schedule, AttentionRole::kSelf, 1, 3);
  EXPECT_THAT(last.names, ElementsAre("sage_attn", "fa"));
  EXPECT_EQ(*last.options.Find("pv"), OptionValue(std::string("fp8")));
  EXPECT_EQ(last.rule, 3);
  EXPECT_EQ(last.source, ChoiceSource::kSchedule);
}

TEST(ScheduleFile, RolesAndComponentsMayBeLists) {
  const AttentionSchedule schedule =
      ScheduleOf("rules: [{component: [transformer, vae], role: [cross, vae], backend: fa}]");
  EXPECT_THAT(At(schedule, AttentionRole::kCross, 0, 0).names, ElementsAre("fa"));
  EXPECT_THAT(At(schedule, AttentionRole::kSelf, 0, 0).names, ElementsAre("auto"));
  EXPECT_THAT(schedule.RequestFor({"vae", AttentionRole::kVae, 0}, -1).names, ElementsAre("fa"));
}

TEST(ScheduleFile, IsReadFromFilesAndFromText) {
  const TemporaryFolder folder;
  const std::string yaml = folder.Write("s.yaml", "- {steps: 3, backend: fa}\n").string();
  EXPECT_EQ(ReadScheduleTree(yaml), ReadScheduleTree(R"([{"steps": 3, "backend": "fa"}])"));
}

TEST(ScheduleFile, MistakesNameTheRule) {
  const auto error = [](const std::string& yaml) { return ErrorOf([&] { ScheduleOf(yaml); }); };
  EXPECT_EQ(error("- {backend: fa}\n- {bakend: fa}"), "file, rule 2: names no backend");
  EXPECT_THAT(error("- {backend: fa, layer: 3}"), HasSubstr("file, rule 1: no key 'layer' in a rule; known: "));
  EXPECT_THAT(error("- {backend: fa, layer: 3}"), HasSubstr("did you mean 'layers'"));
  EXPECT_THAT(error("- {backend: fax}"), HasSubstr("file, rule 1: no attention backend named 'fax'"));
  EXPECT_THAT(error("- {backend: fa, role: slef}"), HasSubstr("did you mean 'self'"));
  EXPECT_THAT(error("- {backend: fa, steps: 0.5}"), HasSubstr("file, rule 1: steps: "));
  EXPECT_THAT(error("- {backend: fa, layers: 3-1}"), HasSubstr("runs backwards"));
  EXPECT_THAT(error("- {backend: fa, config: {pv: fp8}}"),
              HasSubstr("option 'pv' is not a key of fa but of sage_attn"));
  EXPECT_THAT(error("- {backend: sage_attn, config: {pv: fp9}}"), HasSubstr("'fp9' is not one of"));
  EXPECT_THAT(error("- fa"), HasSubstr("is no object"));
  EXPECT_THAT(error("[]"), HasSubstr("a list of rules is needed"));
  EXPECT_THAT(error("backend: fa"), HasSubstr("a list of rules"));
}

TEST(ComponentOverrides, ARoleIsMoreThanItsComponent) {
  AttentionSchedule schedule;
  for (const ScheduleRule& rule :
       ParseComponentOverrides({{"transformer", "fa"}, {"transformer.self", "torch_sdpa"}}, {})) {
    schedule.AddAsked(rule);
  }
  EXPECT_THAT(At(schedule, AttentionRole::kSelf, 0, 0).names, ElementsAre("torch_sdpa"));
  EXPECT_THAT(At(schedule, AttentionRole::kJoint, 0, 0).names, ElementsAre("fa"));
  EXPECT_THAT(At(schedule, AttentionRole::kCross, 0, 0).names, ElementsAre("fa", "auto"));
}

TEST(ComponentOverrides, MistakesNameTheOverride) {
  EXPECT_THAT(ErrorOf([] {
                ParseComponentOverrides({{"transformer.slef", "fa"}}, {});
              }),
              HasSubstr("component override transformer.slef: no role 'slef'"));
  EXPECT_THAT(ErrorOf([] {
                ParseComponentOverrides({{"vae", "fax"}}, {});
              }),
              HasSubstr("component override vae: no attention backend named 'fax'"));
}

}  // namespace
}  // namespace tessera
