// The program with plug-ins: the example built outside of the tree, and the adapters with stand-ins for the vendors.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/command.h"

namespace tessera {
namespace {

using testing::CommandResult;
using ::testing::HasSubstr;
using testing::RunCommand;
using testing::TemporaryFolder;

constexpr const char* kAiter = TESSERA_PLUGINS "/tessera_aiter.so";
constexpr const char* kFia = TESSERA_PLUGINS "/tessera_fia.so";

CommandResult Tessera(std::vector<std::string> arguments, const std::vector<std::string>& environment = {}) {
  arguments.insert(arguments.begin(), TESSERA_BINARY);
  return RunCommand(arguments, environment);
}

std::vector<std::string> LibrariesIn(const std::string& folder) { return {"LD_LIBRARY_PATH=" + folder}; }

// The example needs nothing of tessera but its header.
class Example : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    build_ = std::make_unique<TemporaryFolder>();
    const std::string source = *build_ / "source", include = *build_ / "include";
    std::filesystem::create_directories(include + "/tessera");
    std::filesystem::copy(TESSERA_SOURCE_FOLDER "/examples/attention_plugin", source);
    std::filesystem::copy(TESSERA_SOURCE_FOLDER "/include/tessera/attention_plugin.h", include + "/tessera");
    const auto configured =
        RunCommand({TESSERA_CMAKE, "-S", source, "-B", *build_ / "build", "-DTESSERA_INCLUDE=" + include});
    ASSERT_EQ(configured.exit_code, 0) << configured.err;
    const auto built = RunCommand({TESSERA_CMAKE, "--build", *build_ / "build"});
    ASSERT_EQ(built.exit_code, 0) << built.out << built.err;
    plugin_ = *build_ / "build/attention_plugin.so";
  }
  static void TearDownTestSuite() { build_.reset(); }

  static inline std::unique_ptr<TemporaryFolder> build_;
  static inline std::string plugin_;
};

TEST_F(Example, IsListedWithItsOptions) {
  const auto result = Tessera({"backends", "--json", "--attention-plugin", plugin_});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"plain_loops\""));
  EXPECT_THAT(result.out, HasSubstr("tokens to either side that a query sees"));
}

TEST_F(Example, IsMeasuredAndExact) {
  const auto result = Tessera({"bench", "attention", "f32 b2 h4/2 d24 q50 kv70 mask=causal+lens", "--json", "--runs",
                               "1", "--backend", "plain_loops", "--attention-plugin", plugin_});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto report = nlohmann::json::parse(result.out);
  EXPECT_EQ(report[0]["backend"], "plain_loops");
  EXPECT_LT(report[0]["rel_l1"].get<double>(), 1e-6);
}

TEST_F(Example, DrawsAPicture) {
  const TemporaryFolder folder;
  const auto result =
      Tessera({"generate", "--attention-plugin", plugin_, "--attention-backend", "local_window",
               "--attention-backend-config", "window=40", "--num-inference-steps", "1", "--output-path", folder.path(),
               "--output-file-name", "a.png", "--perf-dump-path", folder / "perf.json", "--log-level", "error"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(std::filesystem::exists(folder / "a.png"));
  const auto shown = RunCommand({"/bin/cat", folder / "perf.json"});
  EXPECT_THAT(shown.out, HasSubstr("\"local_window\""));
}

TEST_F(Example, ExplainsWhyItIsNotTaken) {
  const auto result = Tessera({"explain", "--attention-plugin", plugin_});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("plain_loops"));
}

TEST_F(Example, RefusesAValueOutOfItsRange) {
  const auto result = Tessera({"generate", "--attention-plugin", plugin_, "--attention-backend", "local_window",
                               "--attention-backend-config", "window=-3"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("option 'window' of attention backend 'local_window': -3 is out of range"));
}

TEST(Adapter, WithoutTheVendorsLibrariesSaysWhatIsMissing) {
  const std::vector<std::string> bench = {"bench", "attention", "bf16 b1 h1/1 d16 q8 kv8", "--attention-plugin"};
  auto aiter = bench, fia = bench;
  aiter.insert(aiter.end(), {kAiter, "--backend", "aiter_rocm"});
  fia.insert(fia.end(), {kFia, "--backend", "fia_npu"});
  EXPECT_THAT(Tessera(aiter).err, HasSubstr("no ROCm here (libamdhip64.so cannot be loaded)"));
  EXPECT_THAT(Tessera(fia).err, HasSubstr("no CANN here (libascendcl.so cannot be loaded)"));
}

TEST(Adapter, OfAiterDrawsAPicture) {
  const TemporaryFolder folder;
  const auto result = Tessera({"generate", "--attention-plugin", kAiter, "--attention-backend", "aiter_rocm",
                               "--dit-precision", "bf16", "--num-inference-steps", "1", "--output-path", folder.path(),
                               "--output-file-name", "a.png", "--log-level", "error"},
                              LibrariesIn(TESSERA_STAND_INS));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(std::filesystem::exists(folder / "a.png"));
}

TEST(Adapter, OfFiaDrawsAPicture) {
  const TemporaryFolder folder;
  const auto result = Tessera({"generate", "--attention-plugin", kFia, "--attention-backend", "fia_npu",
                               "--dit-precision", "bf16", "--num-inference-steps", "1", "--output-path", folder.path(),
                               "--output-file-name", "a.png", "--log-level", "error"},
                              LibrariesIn(TESSERA_STAND_INS));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(std::filesystem::exists(folder / "a.png"));
}

TEST(Adapter, OfFiaTakesTheOldestOperatorWhereThereIsNoOther) {
  const auto result = Tessera({"bench", "attention", "bf16 b1 h2/2 d24 q20 kv20 mask=causal", "--json", "--runs", "1",
                               "--backend", "fia_npu", "--attention-plugin", kFia},
                              LibrariesIn(TESSERA_STAND_INS "/v1:" TESSERA_STAND_INS));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_LT(nlohmann::json::parse(result.out)[0]["rel_l1"].get<double>(), 0.01);
}

TEST(Adapter, FindsTheToolkitByItsVariable) {
  const TemporaryFolder home;
  std::filesystem::create_directory_symlink(TESSERA_STAND_INS, home / "lib64");
  const auto result = Tessera({"bench", "attention", "bf16 b1 h2/2 d24 q20 kv20", "--runs", "1", "--backend", "fia_npu",
                               "--attention-plugin", kFia},
                              {"ASCEND_TOOLKIT_HOME=" + home.path()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

}  // namespace
}  // namespace tessera
