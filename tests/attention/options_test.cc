#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/fake_backends.h"
#include "attention/request_options.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

constexpr OptionSpec kSpecs[] = {
    {"sparsity", "share of blocks left out", [] { return OptionValue(0.5); }, 0.0, 1.0, ""},
    {"chunks", "how many", [] { return OptionValue(int64_t{4}); }, 1.0, std::nullopt, ""},
    {"mode", "how", [] { return OptionValue(std::string("topk")); }, std::nullopt, std::nullopt, "topk|threshold"},
    {"dense", "whether", [] { return OptionValue(false); }, std::nullopt, std::nullopt, ""},
};

class OptionsTest : public ::testing::Test {
 protected:
  OptionsTest() { fakes_.Add("fake").options = kSpecs; }
  const AttentionBackend& fake() const { return *fakes_.list().front(); }
  std::string ErrorFor(const std::string& key, OptionValue value) const {
    Options given;
    given.Set(key, std::move(value));
    return ErrorOf([&] { ResolveOptions(fake(), given); });
  }

  FakeBackends fakes_;
};

TEST_F(OptionsTest, AreCompletedWithDefaults) {
  Options given;
  given.Set("sparsity", int64_t{1});
  const Options resolved = ResolveOptions(fake(), given);
  EXPECT_EQ(*resolved.Find("sparsity"), OptionValue(1.0));
  EXPECT_EQ(*resolved.Find("chunks"), OptionValue(int64_t{4}));
  EXPECT_EQ(*resolved.Find("mode"), OptionValue(std::string("topk")));
  EXPECT_EQ(*resolved.Find("dense"), OptionValue(false));
  EXPECT_EQ(resolved.Find("nothing"), nullptr);
}

TEST_F(OptionsTest, AreEqualWhateverTheOrderTheyWereSetIn) {
  Options a, b;
  a.Set("x", 1.0);
  a.Set("y", 2.0);
  b.Set("y", 3.0);
  b.Set("x", 1.0);
  EXPECT_FALSE(a == b);
  b.Set("y", 2.0);
  EXPECT_TRUE(a == b);
}

TEST_F(OptionsTest, RefuseUnknownKeys) {
  EXPECT_EQ(
      ErrorFor("sparsty", 0.5),
      "option 'sparsty' of attention backend 'fake': not known; known: sparsity, chunks, mode, dense; did you mean "
      "'sparsity'");
}

TEST_F(OptionsTest, RefuseWrongTypesAndValues) {
  EXPECT_THAT(ErrorFor("sparsity", std::string("much")), HasSubstr("wanted a number, got a word"));
  EXPECT_THAT(ErrorFor("chunks", 2.5), HasSubstr("wanted a whole number"));
  EXPECT_THAT(ErrorFor("sparsity", 1.5), HasSubstr("1.5 is out of range, wanted 0 to 1"));
  EXPECT_THAT(ErrorFor("chunks", int64_t{0}), HasSubstr("0 is out of range, wanted 1 to any"));
  EXPECT_THAT(ErrorFor("mode", std::string("best")), HasSubstr("'best' is not one of topk, threshold"));
  EXPECT_THAT(ErrorFor("dense", int64_t{1}), HasSubstr("wanted true or false"));
}

TEST_F(OptionsTest, AreFoundInAnyCaseAndUnderTheBackendsName) {
  Options given;
  given.Set("SPARSITY", 0.25);
  given.Set("Fake.chunks", 3.0);
  given.Set("mode", std::string("TopK"));
  const Options resolved = ResolveOptions(fake(), given);
  EXPECT_EQ(*resolved.Find("sparsity"), OptionValue(0.25));
  EXPECT_EQ(*resolved.Find("chunks"), OptionValue(int64_t{3}));
  EXPECT_EQ(*resolved.Find("mode"), OptionValue(std::string("topk")));
}

class SharedOptionsTest : public OptionsTest {
 protected:
  SharedOptionsTest() {
    fakes_.Add("other").options = kOther;
    fakes_.Add("plain");
    registry_ = std::make_unique<AttentionRegistry>(fakes_.list());
  }
  std::string CheckError(const std::string& key, const std::vector<std::string>& names) const {
    Options options;
    options.Set(key, 0.5);
    return ErrorOf([&] { CheckOptions(options, names, *registry_, "--flag"); });
  }

  static constexpr OptionSpec kOther[] = {{"depth", "how deep", [] { return OptionValue(0.1); }, 0.0, 1.0, ""}};
  std::unique_ptr<AttentionRegistry> registry_;
};

TEST_F(SharedOptionsTest, EachNamedBackendTakesItsOwn) {
  AttentionRequest request{{"fake", "other"}, ChoiceSource::kCommandLine, Fidelity::kExact, {}};
  request.options.Set("sparsity", 0.25);
  request.options.Set("other.depth", 0.75);
  EXPECT_NO_THROW(CheckOptions(request.options, request.names, *registry_, "--flag"));
  EXPECT_EQ(*OptionsFor(registry_->Find("fake"), request, *registry_).Find("sparsity"), OptionValue(0.25));
  EXPECT_EQ(*OptionsFor(registry_->Find("other"), request, *registry_).Find("depth"), OptionValue(0.75));
  EXPECT_TRUE(OptionsFor(registry_->Find("plain"), request, *registry_).values().empty());
}

TEST_F(SharedOptionsTest, ABackendThatWasNotNamedTakesNone) {
  AttentionRequest request{{"other", "auto"}, ChoiceSource::kCommandLine, Fidelity::kExact, {}};
  request.options.Set("sparsity", 0.25);
  EXPECT_EQ(*OptionsFor(registry_->Find("fake"), request, *registry_).Find("sparsity"), OptionValue(0.5));
}

TEST_F(SharedOptionsTest, AKeyOfAnotherBackendNamesThatBackend) {
  EXPECT_EQ(CheckError("depth", {"fake"}), "--flag: option 'depth' is not a key of fake but of other");
  EXPECT_EQ(CheckError("depth", {"auto"}),
            "--flag: option 'depth' is given, but no backend is named; it is a key of other");
  EXPECT_THAT(CheckError("sparsty", {"fake"}),
              HasSubstr("known: sparsity, chunks, mode, dense; did you mean 'sparsity'"));
  EXPECT_THAT(CheckError("sparsty", {"plain"}), HasSubstr("not a key of plain, which has no options"));
}

TEST_F(OptionsTest, AreRefusedByBackendsWithoutAny) {
  FakeBackends fakes;
  fakes.Add("plain");
  Options given;
  given.Set("x", 1.0);
  EXPECT_THAT(ErrorOf([&] { ResolveOptions(*fakes.list().front(), given); }), HasSubstr("this backend has no options"));
}

}  // namespace
}  // namespace tessera
