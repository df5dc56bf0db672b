#include "attention/selector.h"

#include <algorithm>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/fake_backends.h"
#include "attention/rules.h"
#include "platform/cpu/cpu.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kRounds = 20000;
const Device kCpu;

AttentionRequest Auto(Fidelity fidelity) { return {{"auto"}, ChoiceSource::kAuto, fidelity, {}}; }
AttentionRequest Names(std::vector<std::string> names) {
  return {std::move(names), ChoiceSource::kCommandLine, Fidelity::kExact, {}};
}

AttentionProblem Plain() { return {.head_dim = 64, .q_len = 8, .kv_len = 8}; }

std::vector<std::string_view> ReasonsFor(const Selection& selection, std::string_view name) {
  for (const Rejection& rejection : selection.rejected) {
    if (rejection.backend->name == name) return rejection.reasons;
  }
  return {};
}

bool Serves(const AttentionBackend& backend, const AttentionProblem& problem, const Device& device, Fidelity allowed) {
  const bool required = problem.has_gate && backend.caps.applies_gate;  // by the checkpoint
  return Refusals(backend, problem, device).empty() && (backend.caps.fidelity <= allowed || required);
}

template <class Check>
void OnRandomProblems(Check check) {
  std::mt19937_64 random(3);
  for (int i = 0; i < kRounds; ++i) {
    const FakeBackends fakes = FakeBackends::Draw(static_cast<int>(1 + random() % 8), random());
    check(DrawProblem(random), DrawDevice(random), fakes.list(), random);
    if (::testing::Test::HasFailure()) return;
  }
}

std::optional<Selection> TrySelect(const AttentionProblem& problem, const Device& device,
                                   const AttentionRequest& request,
                                   const std::vector<const AttentionBackend*>& backends) {
  try {
    return Select(problem, device, request, AttentionRegistry(backends), "site");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    return std::nullopt;
  }
}

TEST(Selector, AutoTakesTheFastestThatServesWithinTheFidelity) {
  OnRandomProblems([](const auto& problem, const Device& device, const auto& backends, auto& random) {
    const auto fidelity = static_cast<Fidelity>(random() % 3);
    const auto selection = TrySelect(problem, device, Auto(fidelity), backends);
    const bool any = std::any_of(backends.begin(), backends.end(),
                                 [&](const auto* b) { return Serves(*b, problem, device, fidelity); });
    ASSERT_EQ(selection.has_value(), any);
    if (!selection) return;
    ASSERT_TRUE(Serves(*selection->backend, problem, device, fidelity));
    for (const AttentionBackend* other : backends) {
      if (other == selection->backend || !Serves(*other, problem, device, fidelity)) continue;
      const double chosen = selection->backend->speed(problem, device), speed = other->speed(problem, device);
      ASSERT_TRUE(speed < chosen || (speed == chosen && selection->backend->name < other->name));
    }
  });
}

TEST(Selector, ACheckpointWithAGateAsksForABackendThatAppliesIt) {
  FakeBackends fakes;
  fakes.Add("exact");
  AttentionBackend& gated = fakes.Add("gated");
  gated.caps.fidelity = Fidelity::kSparse;
  gated.caps.applies_gate = true;
  AttentionProblem problem = ParseAttentionProblem("f32 b1 h2/2 d64 q64 kv64");
  EXPECT_EQ(TrySelect(problem, CpuDevice(), Auto(Fidelity::kExact), fakes.list())->backend->name, "exact");
  problem.has_gate = true;
  const auto selection = TrySelect(problem, CpuDevice(), Auto(Fidelity::kExact), fakes.list());
  EXPECT_EQ(selection->backend->name, "gated");
  EXPECT_EQ(selection->why, "asked for by the model, whose checkpoint has a gate");
}

TEST(Selector, EveryOtherBackendIsRejectedWithReasons) {
  OnRandomProblems([](const auto& problem, const Device& device, const auto& backends, auto& random) {
    const auto selection = TrySelect(problem, device, Auto(static_cast<Fidelity>(random() % 3)), backends);
    if (!selection) return;
    ASSERT_EQ(selection->rejected.size() + 1, backends.size());
    for (const Rejection& rejection : selection->rejected) {
      ASSERT_NE(rejection.backend, selection->backend);
      ASSERT_FALSE(rejection.reasons.empty());
      const auto refusals = Refusals(*rejection.backend, problem, device);
      ASSERT_TRUE(refusals.empty() || rejection.reasons == refusals);
    }
  });
}

TEST(Selector, RegistrationOrderDoesNotMatter) {
  OnRandomProblems([](const auto& problem, const Device& device, auto backends, auto& random) {
    const auto request = Auto(static_cast<Fidelity>(random() % 3));
    const auto before = TrySelect(problem, device, request, backends);
    std::shuffle(backends.begin(), backends.end(), random);
    const auto after = TrySelect(problem, device, request, backends);
    ASSERT_EQ(before.has_value(), after.has_value());
    ASSERT_TRUE(!before || before->backend == after->backend);
  });
}

TEST(Selector, MoreFidelitiesNeverMakeTheChoiceSlower) {
  OnRandomProblems([](const auto& problem, const Device& device, const auto& backends, auto&) {
    double fastest = 0;
    for (const Fidelity fidelity : {Fidelity::kExact, Fidelity::kQuantized, Fidelity::kSparse}) {
      const auto selection = TrySelect(problem, device, Auto(fidelity), backends);
      const double speed = selection ? selection->backend->speed(problem, device) : 0;
      ASSERT_GE(speed, fastest);
      fastest = speed;
    }
  });
}

TEST(Selector, ANameIsTakenOrRefusedWithAllItsReasons) {
  OnRandomProblems([](const auto& problem, const Device& device, const auto& backends, auto&) {
    const AttentionBackend& wanted = *backends.front();
    const auto reasons = Refusals(wanted, problem, device);
    const AttentionRequest request = Names({std::string(wanted.name)});
    const std::string error = ErrorOf(
        [&] { ASSERT_EQ(Select(problem, device, request, AttentionRegistry(backends), "site").backend, &wanted); });
    ASSERT_EQ(error == "no error", reasons.empty());
    for (const std::string_view reason : reasons) ASSERT_THAT(error, HasSubstr(std::string(reason)));
  });
}

TEST(Selector, ARefusalNamesSiteProblemReasonsAndAlternatives) {
  FakeBackends fakes;
  fakes.Add("narrow").caps.head_dims = {8, 8, 1};
  fakes.Add("wide");
  fakes.Add("rough").caps.fidelity = Fidelity::kSparse;
  const std::string error = ErrorOf(
      [&] { Select(Plain(), kCpu, Names({"narrow"}), AttentionRegistry(fakes.list()), "transformer.joint.3"); });
  EXPECT_EQ(
      error,
      "attention 'narrow' (--attention-backend) cannot serve transformer.joint.3, which needs 'f32 b1 h1/1 d64 q8 kv8 "
      "mask=none' on cpu: narrow: head dim; would work: rough (sparse), wide (exact)");
}

TEST(Selector, AListTakesTheFirstThatServesAndSaysWhy) {
  FakeBackends fakes;
  fakes.Add("narrow").caps.head_dims = {8, 8, 1};
  fakes.Add("wide");
  fakes.Add("other");
  const Selection selection =
      Select(Plain(), kCpu, Names({"narrow", "wide", "auto"}), AttentionRegistry(fakes.list()), "site");
  EXPECT_EQ(selection.backend->name, "wide");
  EXPECT_EQ(selection.why, "asked for by --attention-backend, as narrow: head dim");
  EXPECT_THAT(ReasonsFor(selection, "other"), ElementsAre("not asked for"));
  EXPECT_THAT(ReasonsFor(selection, "narrow"), ElementsAre("head dim"));
}

TEST(Selector, AListMayEndInAuto) {
  FakeBackends fakes;
  fakes.Add("narrow").caps.head_dims = {8, 8, 1};
  fakes.Add("wide");
  const Selection selection = Select(Plain(), kCpu, Names({"narrow", "auto"}), AttentionRegistry(fakes.list()), "site");
  EXPECT_EQ(selection.backend->name, "wide");
  EXPECT_EQ(selection.why, "fastest exact, as narrow: head dim");
}

TEST(Selector, AutoSaysSlowerAndChangesThePicture) {
  FakeBackends fakes;
  fakes.Add("a");
  fakes.Add("b");
  fakes.Add("rough").caps.fidelity = Fidelity::kQuantized;
  const Selection selection = Select(Plain(), kCpu, Auto(Fidelity::kExact), AttentionRegistry(fakes.list()), "site");
  EXPECT_EQ(selection.backend->name, "a");
  EXPECT_EQ(selection.why, "fastest exact");
  EXPECT_THAT(ReasonsFor(selection, "b"), ElementsAre("slower"));
  EXPECT_THAT(ReasonsFor(selection, "rough"), ElementsAre("changes the picture"));
}

TEST(Selector, AutoWithoutACandidateListsEveryReason) {
  FakeBackends fakes;
  fakes.Add("narrow").caps.head_dims = {8, 8, 1};
  fakes.Add("rough").caps.fidelity = Fidelity::kSparse;
  const std::string error =
      ErrorOf([&] { Select(Plain(), kCpu, Auto(Fidelity::kExact), AttentionRegistry(fakes.list()), "site"); });
  EXPECT_THAT(error, HasSubstr("narrow: head dim; rough: changes the picture; would work: rough (sparse)"));
}

TEST(Selector, UnknownNamesListTheKnownAndTheNearest) {
  FakeBackends fakes;
  fakes.Add("flash").aliases = "quick fl2";
  fakes.Add("wide");
  const std::string error =
      ErrorOf([&] { Select(Plain(), kCpu, Names({"flahs"}), AttentionRegistry(fakes.list()), "site"); });
  EXPECT_EQ(error, "no attention backend named 'flahs'; known: flash, wide, auto; did you mean 'flash'");
  EXPECT_EQ(Select(Plain(), kCpu, Names({" QUICK "}), AttentionRegistry(fakes.list()), "site").backend->name, "flash");
}

TEST(Selector, ACheckWithinABackendRefusesToo) {
  FakeBackends fakes;
  fakes.Add("odd").check = [](const AttentionProblem& problem, const Device&) {
    return problem.q_len % 2 == 0 ? std::string_view("even length") : std::string_view();
  };
  const std::string error =
      ErrorOf([&] { Select(Plain(), kCpu, Names({"odd"}), AttentionRegistry(fakes.list()), "site"); });
  EXPECT_THAT(error, HasSubstr("odd: even length; would work: none"));
}

TEST(Selector, RefusesInconsistentProblems) {
  FakeBackends fakes;
  fakes.Add("wide");
  AttentionProblem problem = Plain();
  problem.kv_heads = 2;
  EXPECT_THAT(ErrorOf([&] { Select(problem, kCpu, Auto(Fidelity::kSparse), AttentionRegistry(fakes.list()), "site"); }),
              HasSubstr("kv heads do not divide heads"));
}

// One change to a problem or device that a blank data sheet serves, and the reason it must give.
struct Refusal {
  const char* reason;
  void (*change)(AttentionProblem&, Device&, AttentionBackend&);
};
const Refusal kRefusals[] = {
    {"not in this build", [](auto&, auto&, auto& b) { b.plan = nullptr; }},
    {"not for this kind of device", [](auto&, auto& d, auto&) { d.kind = DeviceKind::kCuda; }},
    {"needs a newer instruction set", [](auto&, auto&, auto& b) { b.caps.isa = Isa::kAvx2; }},
    {"dtype", [](auto& p, auto&, auto&) { p.dtype = DType::kF16; }},
    {"head dim", [](auto& p, auto&, auto&) { p.head_dim = 65; }},
    {"causal mask", [](auto& p, auto&, auto&) { p.mask = kMaskCausal; }},
    {"top-left causal mask", [](auto& p, auto&, auto&) { p.mask = kMaskCausalTopLeft; }},
    {"key lengths", [](auto& p, auto&, auto&) { p.mask = kMaskKeyLengths; }},
    {"packed sequences", [](auto& p, auto&, auto&) { p.mask = kMaskVarlen; }},
    {"bias or boolean mask", [](auto& p, auto&, auto&) { p.mask = kMaskBias; }},
    {"unknown mask", [](auto& p, auto&, auto&) { p.mask = 1u << 20; }},
    {"grouped kv heads", [](auto& p, auto&, auto&) { p.heads = 2; }},
    {"cross attention", [](auto& p, auto&, auto&) { p.kv_len = 9; }},
    {"no log-sum-exp", [](auto& p, auto&, auto&) { p.needs_lse = true; }},
    {"wants a video grid", [](auto&, auto&, auto& b) { b.caps.wants_grid = true; }},
    {"the video grid does not cover the tokens",
     [](auto& p, auto&, auto& b) {
       b.caps.wants_grid = true;
       p.grid = VideoGrid{1, 2, 3, 0, 0};
     }},
    {"ignores the checkpoint's gate", [](auto& p, auto&, auto&) { p.has_gate = true; }},
};

TEST(Rules, ABlankDataSheetRefusesEveryFeatureByName) {
  for (const Refusal& refusal : kRefusals) {
    FakeBackends fakes;
    AttentionBackend& backend = fakes.Add("blank");
    AttentionProblem problem = Plain();
    Device device;
    ASSERT_TRUE(Refusals(backend, problem, device).empty());
    refusal.change(problem, device, backend);
    EXPECT_THAT(Refusals(backend, problem, device), ElementsAre(refusal.reason));
  }
}

}  // namespace
}  // namespace tessera
