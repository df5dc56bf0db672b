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
  ScheduleRule rule;
  rule.request = {{name}, source, Fidelity::kExact, {}};
  return rule;
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
  for (const ChoiceSource source : {ChoiceSource::kModel, ChoiceSource::kCommandLine, ChoiceSource::kSchedule,
                                    ChoiceSource::kComponent, ChoiceSource::kForced}) {
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
  rule.layers = ParsePlaceRanges("2-3", "layers");
  schedule.Add(rule);
  EXPECT_THAT(schedule.RequestFor(Site("vae", AttentionRole::kVae, 3), 0).names, ElementsAre("fa"));
  EXPECT_THAT(schedule.RequestFor(Site("vae", AttentionRole::kVae, 4), 0).names, ElementsAre("auto"));
  EXPECT_THAT(schedule.RequestFor(Site("vae", AttentionRole::kSelf, 3), 0).names, ElementsAre("auto"));
  EXPECT_THAT(schedule.RequestFor(Site("transformer", AttentionRole::kVae, 3), 0).names, ElementsAre("auto"));
}

bool Contains(const std::string& text, int place, int count) {
  for (const PlaceRange& range : ParsePlaceRanges(text, "layers")) {
    if (range.Contains(place, count)) return true;
  }
  return false;
}

std::vector<int> PlacesOf(const std::string& text, int count) {
  std::vector<int> places;
  for (int place = 0; place < count; ++place) {
    if (Contains(text, place, count)) places.push_back(place);
  }
  return places;
}

TEST(Schedule, RangesCountFromEitherEndAndAsShares) {
  EXPECT_THAT(PlacesOf("0-3,-1", 8), ElementsAre(0, 1, 2, 3, 7));
  EXPECT_THAT(PlacesOf("6-", 8), ElementsAre(6, 7));
  EXPECT_THAT(PlacesOf("-3--2", 8), ElementsAre(5, 6));
  EXPECT_THAT(PlacesOf("0.0-0.3", 10), ElementsAre(0, 1, 2));
  EXPECT_THAT(PlacesOf("0.3-1", 4), ElementsAre(2, 3));
  EXPECT_FALSE(Contains("-1", 3, 0));
}

TEST(Schedule, SharesThatMeetLeaveNoGap) {
  for (int count = 1; count < 60; ++count) {
    for (int place = 0; place < count; ++place) {
      EXPECT_NE(Contains("0.0-0.3", place, count), Contains("0.3-1.0", place, count)) << place << " of " << count;
    }
  }
}

TEST(Schedule, RefusesWhatIsNoRange) {
  for (const char* text :
       {"", ",", "3-1", "a", "1-b", "0.5", "0.3-0.1", "0.0-1.5", "1e300", "nan", "-", "1-2-3", "0x1"}) {
    EXPECT_THAT(ErrorOf([&] { ParsePlaceRanges(text, "steps"); }), HasSubstr("steps: '")) << text;
  }
}

TEST(Schedule, RulesMatchByStep) {
  AttentionSchedule schedule;
  ScheduleRule rule = RuleFor("fa", ChoiceSource::kSchedule);
  rule.steps = ParsePlaceRanges("0.5-1.0", "steps");
  schedule.Add(rule);
  const AttentionSite site = Site("transformer", AttentionRole::kSelf);
  EXPECT_EQ(schedule.RuleFor(site, 1, {.layers = 1, .steps = 4}), nullptr);
  EXPECT_NE(schedule.RuleFor(site, 2, {.layers = 1, .steps = 4}), nullptr);
  EXPECT_EQ(schedule.RuleFor(site, -1, {.layers = 1, .steps = 4}), nullptr);
}

ScheduleRule Override(const std::string& component, const std::string& name) {
  ScheduleRule rule = RuleFor(name, ChoiceSource::kComponent);
  rule.component = component;
  return rule;
}

TEST(Schedule, TheSecondDenoiserFollowsTheFirst) {
  AttentionSchedule schedule;
  schedule.AddAsked(Override("transformer", "fa"));
  EXPECT_THAT(schedule.RequestFor(Site("transformer_2", AttentionRole::kSelf), 0).names, ElementsAre("fa"));
  EXPECT_THAT(schedule.RequestFor(Site("vae", AttentionRole::kVae), 0).names, ElementsAre("auto"));
}

TEST(Schedule, TheSecondDenoiserIsNamedItself) {
  AttentionSchedule schedule;
  schedule.AddAsked(Override("transformer", "fa"));
  schedule.AddAsked(Override("transformer_2", "torch_sdpa"));
  EXPECT_THAT(schedule.RequestFor(Site("transformer", AttentionRole::kSelf), 0).names, ElementsAre("fa"));
  EXPECT_THAT(schedule.RequestFor(Site("transformer_2", AttentionRole::kSelf), 0).names, ElementsAre("torch_sdpa"));
}

TEST(Schedule, RulesForPlacesTheModelLacksAreErrors) {
  const std::vector<AttentionSite> sites = {Site("transformer", AttentionRole::kJoint, 4),
                                            Site("text_encoder", AttentionRole::kEncoder)};
  const auto error = [&](const ScheduleRule& rule) {
    AttentionSchedule schedule;
    schedule.AddAsked(rule);
    return ErrorOf([&] { schedule.CheckAgainst(sites); });
  };
  ScheduleRule rule = Override("transfromer", "fa");
  EXPECT_EQ(error(rule),
            "component override: the model has no component 'transfromer'; known: text_encoder, transformer; did you "
            "mean 'transformer'");
  rule = Override("transformer", "fa");
  rule.role = AttentionRole::kCross;
  EXPECT_THAT(error(rule), HasSubstr("no role 'transformer.cross'; known: transformer.joint"));
  rule.role.reset();
  rule.layers = ParsePlaceRanges("3-5", "layers");
  EXPECT_THAT(error(rule), HasSubstr("no layer 5 of transformer, which has layers 0-4"));
  rule = Override("text_encoder", "fa");
  rule.steps = ParsePlaceRanges("0", "steps");
  EXPECT_THAT(error(rule), HasSubstr("outside of denoising"));
}

TEST(Schedule, TheOneLineScheduleFitsEveryModel) {
  const auto schedule = AttentionSchedule::FromBackendNames("fa", ChoiceSource::kCommandLine);
  EXPECT_NO_THROW(schedule.CheckAgainst({Site("transformer", AttentionRole::kJoint)}));
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
