#include "attention/schedule.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/registry.h"
#include "base/text.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

AttentionSite Site(const std::string& component, AttentionRole role, int layer = 0) { return {component, role, layer}; }

ScheduleRule RuleFor(const std::string& name, ChoiceSource source) {
  return {std::nullopt, std::nullopt, {}, {{name}, source, Fidelity::kExact, {}}};
}

TEST(Schedule, NamesBindSelfAndJointAttentionOfTheTransformer) {
  const auto schedule = AttentionSchedule::FromBackendNames("sdpa", ChoiceSource::kCommandLine);
  for (const AttentionRole role : {AttentionRole::kSelf, AttentionRole::kJoint}) {
    for (const std::string component : {"transformer", "transformer_2"}) {
      const AttentionRequest request = schedule.RequestFor(Site(component, role, 7), 3);
      EXPECT_THAT(request.names, ElementsAre("torch_sdpa"));
      EXPECT_EQ(request.source, ChoiceSource::kCommandLine);
    }
  }
}

TEST(Schedule, OtherSitesOfTheTransformerMayFallBack) {
  const auto schedule = AttentionSchedule::FromBackendNames("fa", ChoiceSource::kCommandLine);
  EXPECT_THAT(schedule.RequestFor(Site("transformer", AttentionRole::kCross), 0).names, ElementsAre("fa", "auto"));
}

TEST(Schedule, OtherComponentsAreLeftToAuto) {
  const auto schedule = AttentionSchedule::FromBackendNames("fa", ChoiceSource::kCommandLine, Fidelity::kSparse);
  const AttentionRequest request = schedule.RequestFor(Site("vae", AttentionRole::kVae), 0);
  EXPECT_THAT(request.names, ElementsAre("auto"));
  EXPECT_EQ(request.fidelity, Fidelity::kExact);
}

TEST(Schedule, KeepsTheOrderOfAListAndTheFidelityOfAuto) {
  const auto schedule =
      AttentionSchedule::FromBackendNames(" FA3, native ,Auto", ChoiceSource::kModel, Fidelity::kQuantized);
  const AttentionRequest request = schedule.RequestFor(Site("transformer", AttentionRole::kJoint), 0);
  EXPECT_THAT(request.names, ElementsAre("fa", "torch_sdpa", "auto"));
  EXPECT_EQ(request.fidelity, Fidelity::kQuantized);
}

TEST(Schedule, RefusesUnknownAndEmptyNames) {
  const auto error = [](const std::string& names) {
    return ErrorOf([&] { AttentionSchedule::FromBackendNames(names, ChoiceSource::kCommandLine); });
  };
  EXPECT_THAT(error("torch_spda"), HasSubstr("did you mean 'torch_sdpa'"));
  EXPECT_THAT(error("fa,nope"), HasSubstr("no attention backend named 'nope'; known: fa, "));
  EXPECT_THAT(error("fa,"), HasSubstr("a name is empty"));
  EXPECT_THAT(error(""), HasSubstr("a name is empty"));
}

TEST(Schedule, RulesApplyByPrecedenceThenInOrder) {
  AttentionSchedule schedule;
  const AttentionSite site = Site("transformer", AttentionRole::kSelf);
  for (const ChoiceSource source :
       {ChoiceSource::kModel, ChoiceSource::kCommandLine, ChoiceSource::kComponent, ChoiceSource::kForced}) {
    schedule.Add(RuleFor("first", source));
    schedule.Add(RuleFor("second", source));
    EXPECT_EQ(schedule.RequestFor(site, 0).source, source);
    EXPECT_THAT(schedule.RequestFor(site, 0).names, ElementsAre("first"));
  }
}

TEST(Schedule, RulesMatchByComponentRoleAndLayer) {
  AttentionSchedule schedule;
  ScheduleRule rule = RuleFor("fa", ChoiceSource::kComponent);
  rule.component = "vae";
  rule.role = AttentionRole::kVae;
  rule.layers = {2, 3};
  schedule.Add(rule);
  EXPECT_THAT(schedule.RequestFor(Site("vae", AttentionRole::kVae, 3), 0).names, ElementsAre("fa"));
  EXPECT_THAT(schedule.RequestFor(Site("vae", AttentionRole::kVae, 4), 0).names, ElementsAre("auto"));
  EXPECT_THAT(schedule.RequestFor(Site("vae", AttentionRole::kSelf, 3), 0).names, ElementsAre("auto"));
  EXPECT_THAT(schedule.RequestFor(Site("transformer", AttentionRole::kVae, 3), 0).names, ElementsAre("auto"));
}

TEST(Registry, FindsEveryBackendByNameAndAliasInAnyCase) {
  for (const AttentionBackend* backend : AttentionRegistry::BuiltIn().backends()) {
    EXPECT_EQ(&AttentionRegistry::BuiltIn().Find(backend->name), backend);
  }
  EXPECT_EQ(AttentionRegistry::BuiltIn().Find("SDPA").name, "torch_sdpa");
  EXPECT_EQ(AttentionRegistry::BuiltIn().Find("Native").name, "torch_sdpa");
}

TEST(Registry, NoTwoBackendsShareASpelling) {
  std::vector<std::string> spellings = {"auto"};
  for (const AttentionBackend* backend : AttentionRegistry::BuiltIn().backends()) {
    spellings.emplace_back(backend->name);
    for (const std::string& alias : Split(backend->aliases, ' ')) {
      if (!alias.empty()) spellings.push_back(alias);
    }
  }
  for (const std::string& spelling : spellings) EXPECT_EQ(spelling, Lower(spelling));
  std::sort(spellings.begin(), spellings.end());
  EXPECT_EQ(std::adjacent_find(spellings.begin(), spellings.end()), spellings.end());
}

}  // namespace
}  // namespace tessera
