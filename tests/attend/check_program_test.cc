#include <filesystem>
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "support/command.h"

namespace tessera {
namespace {

using testing::CommandResult;
using ::testing::HasSubstr;
using testing::RunCommand;
using testing::TemporaryFolder;

CommandResult Generate(const TemporaryFolder& folder, const std::vector<std::string>& more) {
  std::vector<std::string> words = {TESSERA_BINARY, "generate", "--model-path", TESSERA_SOURCE_FOLDER "/models/demo"};
  words.insert(words.end(), {"--prompt", "a red house", "--height", "64", "--width", "64"});
  words.insert(words.end(), {"--num-inference-steps", "2", "--output-path", folder.path()});
  words.insert(words.end(), {"--log-level", "warning", "--perf-dump-path", folder / "perf.json"});
  words.insert(words.end(), more.begin(), more.end());
  return RunCommand(words);
}

// The checks of the transformer's sites, by backend.
std::map<std::string, nlohmann::json> ChecksOf(const TemporaryFolder& folder) {
  std::ifstream file(folder / "perf.json");
  std::map<std::string, nlohmann::json> checks;
  const nlohmann::json report = nlohmann::json::parse(file, nullptr, false);
  for (const auto& row : report.value("attention", nlohmann::json::array())) {
    if (row["site"].get<std::string>().starts_with("transformer"))
      checks[row["backend"]] = row.value("check", nlohmann::json());
  }
  return checks;
}

TEST(CheckedRun, FindsNothingWrongWithARightBackend) {
  const TemporaryFolder folder;
  const CommandResult result = Generate(folder, {"--attention-backend", "fa", "--attention-check", "rate=0.02"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const auto checks = ChecksOf(folder);
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_GT(checks.at("fa")["rows"], 0);
  EXPECT_EQ(checks.at("fa")["failures"], 0);
  EXPECT_GT(checks.at("fa")["worst_rel_l1"], 0.0);
}

TEST(CheckedRun, WithoutTheFlagNothingIsChecked) {
  const TemporaryFolder folder;
  EXPECT_EQ(Generate(folder, {"--attention-backend", "fa"}).exit_code, 0);
  EXPECT_TRUE(ChecksOf(folder).at("fa").is_null());
}

const std::vector<std::string> kTooStrict = {"--attention-backend", "sage_attn", "--attention-check",
                                             "rate=0.02,tolerance=0"};

std::vector<std::string> TooStrict(const std::string& action) {
  std::vector<std::string> words = kTooStrict;
  words.insert(words.end(), {"--attention-check-action", action});
  return words;
}

TEST(CheckedRun, ReportsAFailureAndGoesOn) {
  const TemporaryFolder folder;
  const CommandResult result = Generate(folder, TooStrict("report"));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("attention check: 'sage_attn' at transformer"));
  const auto check = ChecksOf(folder).at("sage_attn");
  EXPECT_EQ(check["failures"], check["calls"]);
  EXPECT_EQ(check["demoted"], false);
}

TEST(CheckedRun, DemotesToAnExactBackend) {
  const TemporaryFolder folder;
  ASSERT_EQ(Generate(folder, TooStrict("demote")).exit_code, 0);
  const auto checks = ChecksOf(folder);
  EXPECT_EQ(checks.at("sage_attn")["demoted"], true);
  EXPECT_EQ(checks.at("sage_attn")["first_failed_step"], 0);
  EXPECT_EQ(checks.size(), 2u);
}

TEST(CheckedRun, AbortsWithoutAPicture) {
  const TemporaryFolder folder;
  const CommandResult result = Generate(folder, TooStrict("abort"));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("attention check: "));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(CheckedRun, RefusesFlagsThatMakeNoSense) {
  const TemporaryFolder folder;
  EXPECT_THAT(Generate(folder, {"--attention-check", "rate=2"}).err, HasSubstr("above 0 and at most 1"));
  EXPECT_THAT(Generate(folder, {"--attention-check", "rat=0.1"}).err, HasSubstr("'rat' is unknown"));
  EXPECT_THAT(Generate(folder, {"--attention-check-action", "abort"}).err, HasSubstr("there is no --attention-check"));
  EXPECT_THAT(Generate(folder, {"--attention-check", "0.1", "--attention-check-action", "stop"}).err,
              HasSubstr("--attention-check-action"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace tessera
