// Every recorded file of an original planner that lies in tests/golden/attention, run as anybody would.
#include <algorithm>
#include <filesystem>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "attend/attend_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> GoldenFiles() {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(TESSERA_SOURCE_FOLDER "/tests/golden/attention")) {
    if (entry.path().extension() != ".safetensors") continue;
    const auto metadata = SafetensorsFile(entry.path()).header().metadata;
    if (metadata.contains("backend") && metadata.contains("runs")) files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Runs in which the original does something that it says it does not.
bool ShowsAQuirk(const nlohmann::json& run) {
  return run.value("dense_fallback", false) || run.contains("leaks_across_samples") || run.value("cut_is_one", false);
}

class AttendGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(AttendGolden, DecidesAndComputesAsTheOriginal) {
  const auto metadata = SafetensorsFile(GetParam()).header().metadata;
  const TemporaryFolder folder;
  std::vector<std::string> words = {TESSERA_BINARY, "attend", "--backend", metadata.at("backend")};
  words.insert(words.end(), {"--input", GetParam(), "--output", (folder.path() / "out.safetensors").string()});
  words.insert(words.end(), {"--run", "all", "--runs", "1", "--dtype", "f32", "--json"});
  const auto result = testing::RunCommand(words);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  auto rows = nlohmann::json::parse(result.out);
  if (!rows.is_array()) rows = nlohmann::json::array({rows});
  const auto runs = nlohmann::json::parse(metadata.at("runs"));
  ASSERT_EQ(rows.size(), runs.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    if (ShowsAQuirk(runs[i])) continue;
    EXPECT_NE(rows[i]["file_block_mask_equal"], false) << rows[i]["run"];
    if (rows[i]["file_out"].is_object()) {
      EXPECT_LT(rows[i]["file_out"]["max_abs"].get<double>(), 2e-5) << rows[i]["run"];
    }
    if (rows[i]["same_mask"].is_object()) {
      EXPECT_LT(rows[i]["same_mask"]["rel_l1"].get<double>(), 1e-5) << rows[i]["run"];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, AttendGolden, ::testing::ValuesIn(GoldenFiles()),
                         [](const auto& row) { return fs::path(row.param).stem().string(); });

}  // namespace
}  // namespace tessera
