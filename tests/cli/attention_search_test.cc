// tessera attention-search: the strategy is what the recorded losses say, and generate takes it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "support/command.h"

namespace tessera::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

struct Job {
  const char* name;
  Words words;            // what the job is, for generate as well
  Words search;           // how it is searched
  std::string tile_size;  // of `search`
  int steps, skip, layers, heads;
  std::vector<int> full;    // tiles of the grid
  size_t passes, pictures;  // that count
  friend void PrintTo(const Job& job, std::ostream* stream) { *stream << job.name; }
};

const std::string kWan = TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/wan21_t2v_tiny";
const std::string kExperts = TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/wan22_t2v_tiny";
const std::string kDemo = TESSERA_SOURCE_FOLDER "/models/demo";

const Words kFilm = {
    "--model-path",          kWan, "--height",         "32", "--width",         "48",  "--num-frames", "9",
    "--num-inference-steps", "4",  "--guidance-scale", "5",  "--dit-precision", "fp32"};

const Job kGuided{"guided_film",
                  kFilm,
                  {"--prompt", "a red fox", "a ship at sunset", "--tile-size", "1,1,1", "--candidates",
                   "1,1,3,3,1,1,1,2,1,3,1,9", "--skip-steps", "1"},
                  "[1, 1, 1]",
                  4,
                  1,
                  2,
                  2,
                  {3, 2, 3},
                  2,
                  2};
const Job kConditional{"conditional_pass",
                       kFilm,
                       {"--prompt", "a red fox", "--tile-size", "1,1,1", "--passes", "conditional"},
                       "[1, 1, 1]",
                       4,
                       1,
                       2,
                       2,
                       {3, 2, 3},
                       1,
                       1};
const Job kTwoExperts{
    "two_experts",
    {"--model-path", kExperts, "--height", "32", "--width", "48", "--num-frames", "13", "--num-inference-steps", "4",
     "--guidance-scale", "1", "--guidance-scale-2", "1"},
    {"--prompt", "two dogs", "--num-outputs-per-prompt", "2", "--tile-size", "1,1,1", "--skip-steps", "0"},
    "[1, 1, 1]",
    4,
    0,
    2,
    2,
    {4, 2, 3},
    1,
    2};
// Latents of 4 x 3 x 5 tokens: no side is a multiple of the tile's.
const Job kUneven{"uneven_grid",
                  {"--model-path", kWan, "--height", "48", "--width", "80", "--num-frames", "13",
                   "--num-inference-steps", "4", "--guidance-scale", "5", "--dit-precision", "fp32"},
                  {"--prompt", "a red fox", "--tile-size", "3,2,2"},
                  "[3, 2, 2]",
                  4,
                  1,
                  2,
                  2,
                  {2, 2, 3},
                  2,
                  1};
const Job kPicture{
    "picture",
    {"--model-path", kDemo, "--height", "128", "--width", "128", "--num-inference-steps", "4", "--guidance-scale", "1"},
    {"--prompt", "a blue circle", "--tile-size", "1,2,2"},
    "[1, 2, 2]",
    4,
    1,
    0,
    0,
    {1, 4, 4},
    1,
    1};

Words Line(const char* command, const Job& job, const Words& more) {
  Words line = {TESSERA_BINARY, command, "--log-level", "warning"};
  line.insert(line.end(), job.words.begin(), job.words.end());
  line.insert(line.end(), more.begin(), more.end());
  return line;
}

json Read(const fs::path& path) {
  std::ifstream file(path);
  return json::parse(file, nullptr, false);
}

// Every table of losses under a folder.
std::vector<json> Losses(const fs::path& folder) {
  std::vector<json> tables;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) tables.push_back(Read(entry.path())["L2_loss"]);
  }
  return tables;
}

class AttentionSearch : public ::testing::TestWithParam<Job> {
 protected:
  CommandResult Search(const Words& more = {}) const {
    Words words = GetParam().search;
    words.insert(words.end(), {"--output", folder_ / "new/strategy.json", "--save-losses", folder_ / "losses"});
    words.insert(words.end(), more.begin(), more.end());
    return RunCommand(Line("attention-search", GetParam(), words));
  }
  const TemporaryFolder folder_;
};

// The windows that lose least on average, found again from the losses alone.
TEST_P(AttentionSearch, WindowsAreThoseOfTheRecordedLosses) {
  const Job& job = GetParam();
  const CommandResult result = Search();
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json strategy = Read(folder_ / "new/strategy.json");
  const std::vector<json> tables = Losses(folder_ / "losses");
  ASSERT_EQ(tables.size(), job.passes * job.pictures);
  const json& shape = tables[0].begin().value();
  ASSERT_EQ(shape.size(), static_cast<size_t>(job.steps));
  if (job.layers > 0) {
    EXPECT_EQ(shape[0].size(), static_cast<size_t>(job.layers));
    EXPECT_EQ(shape[0][0].size(), static_cast<size_t>(job.heads));
  }
  ASSERT_EQ(strategy.size(), shape.size() * shape[0].size() * shape[0][0].size());
  size_t searched = 0;
  double tiles = 0;
  for (const auto& [key, window] : strategy.items()) {
    size_t step = 0, layer = 0, head = 0;
    ASSERT_EQ(std::sscanf(key.c_str(), "%zu_%zu_%zu", &step, &layer, &head), 3) << key;
    double seen = 1;
    for (size_t axis = 0; axis < 3; ++axis) seen *= std::min(window[axis].get<int>(), job.full[axis]);
    tiles += seen;
    if (step < static_cast<size_t>(job.skip)) {
      EXPECT_EQ(window, json(job.full)) << key;
      continue;
    }
    const auto mean = [&](const std::string& candidate) {
      double sum = 0;
      for (const json& table : tables) sum += table[candidate][step][layer][head].get<double>();
      return sum / static_cast<double>(tables.size());
    };
    const auto [t, h, w] = window.get<std::array<int, 3>>();
    char text[64];
    std::snprintf(text, sizeof text, "[%d, %d, %d]", t, h, w);
    const std::string chosen = text;
    ASSERT_TRUE(tables[0].contains(chosen)) << key << " " << chosen;
    for (const auto& other : tables[0].items()) EXPECT_LE(mean(chosen), mean(other.key())) << key;
    searched += mean(chosen) > 0;
  }
  EXPECT_GT(searched, 0u);
  const double all = static_cast<double>(strategy.size()) * job.full[0] * job.full[1] * job.full[2];
  char line[64];
  std::snprintf(line, sizeof line, "overall sparsity %.4f", 1 - tiles / all);
  EXPECT_THAT(result.out, HasSubstr(line));
}

TEST_P(AttentionSearch, GenerateTakesTheStrategy) {
  const Job& job = GetParam();
  ASSERT_EQ(Search().exit_code, 0);
  const json config = {{"mask_strategy_file_path", folder_ / "new/strategy.json"},
                       {"skip_time_steps", job.skip},
                       {"tile_size", json::parse(job.tile_size)}};
  const CommandResult result = RunCommand(Line(
      "generate", job,
      {"--prompt", "a green tree", "--output-path", folder_.path(), "--output-file-name", "made", "--attention-backend",
       "sliding_tile_attn", "--attention-backend-config", config.dump(), "--perf-dump-path", folder_ / "perf.json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  double calls = 0, density = 0;
  const json report = Read(folder_ / "perf.json");
  for (const json& row : report["attention"]) {
    if (row["backend"] != "sliding_tile_attn") continue;
    calls += row["calls"].get<double>();
    density += row["calls"].get<double>() * row["density"].get<double>();
  }
  ASSERT_GT(calls, 0);
  EXPECT_LT(density / calls, 0.97);
}

TEST_P(AttentionSearch, ThreadsDoNotMatter) {
  ASSERT_EQ(Search({"--threads", "1"}).exit_code, 0);
  const json once = Read(folder_ / "new/strategy.json");
  const std::vector<json> losses = Losses(folder_ / "losses");
  ASSERT_EQ(Search({"--threads", "3"}).exit_code, 0);
  EXPECT_EQ(once, Read(folder_ / "new/strategy.json"));
  EXPECT_EQ(losses, Losses(folder_ / "losses"));
}

INSTANTIATE_TEST_SUITE_P(Jobs, AttentionSearch,
                         ::testing::Values(kGuided, kConditional, kTwoExperts, kUneven, kPicture),
                         [](const auto& suite) { return suite.param.name; });

struct Refused {
  const char* name;
  Words words;
  const char* says;
  friend void PrintTo(const Refused& refused, std::ostream* stream) { *stream << refused.name; }
};

class AttentionSearchRefuses : public ::testing::TestWithParam<Refused> {};

TEST_P(AttentionSearchRefuses, InOneLineAndWritesNothing) {
  const TemporaryFolder folder;
  Words words = {"--prompt", "a red fox"};
  bool has_output = false;
  for (std::string word : GetParam().words) {
    has_output = has_output || word == "--output" || word == "no-output";
    if (word == "no-output") continue;
    if (word == "FOLDER") word = folder.path();
    words.push_back(word);
  }
  if (!has_output) words.insert(words.end(), {"--output", folder / "strategy.json"});
  const CommandResult result = RunCommand(Line("attention-search", kGuided, words));
  EXPECT_GT(result.exit_code, 0);
  EXPECT_LT(result.exit_code, 128);
  EXPECT_THAT(result.err, HasSubstr(GetParam().says));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

INSTANTIATE_TEST_SUITE_P(
    Arguments, AttentionSearchRefuses,
    ::testing::Values(
        Refused{"no_output", {"no-output"}, "needs --output"},
        Refused{"output_is_a_folder", {"--output", "FOLDER", "--tile-size", "1,1,1"}, "a folder has that name"},
        Refused{"output_below_a_file", {"--output", "/dev/null/strategy.json", "--tile-size", "1,1,1"}, "/dev/null"},
        Refused{"one_tile", {}, "the whole grid is one tile"},
        Refused{"two_sizes", {"--tile-size", "1,1"}, "--tile-size: 2 numbers"},
        Refused{"no_size", {"--tile-size", "0,1,1"}, "--tile-size"},
        Refused{"part_of_a_window", {"--tile-size", "1,1,1", "--candidates", "1,1"}, "--candidates: 2 numbers"},
        Refused{"window_twice", {"--tile-size", "1,1,1", "--candidates", "1,1,1,1,1,1"}, "[1, 1, 1] is named twice"},
        Refused{"even_window", {"--tile-size", "1,1,1", "--candidates", "2,1,1"}, "is even along t"},
        Refused{"full_window",
                {"--tile-size", "1,1,1", "--candidates", "3,3,3"},
                "[3, 3, 3] shows the whole grid of [3, 2, 3]"},
        Refused{"losses_below_a_file", {"--tile-size", "1,1,1", "--save-losses", "/dev/null"}, "/dev/null"},
        Refused{"losses_nowhere", {"--tile-size", "1,1,1", "--save-losses", "/proc/nowhere"}, "/proc/nowhere"},
        Refused{"words", {"--tile-size", "1,1,1", "--candidates", "a,b,c"}, "--candidates"},
        Refused{"all_skipped", {"--tile-size", "1,1,1", "--skip-steps", "4"}, "--skip-steps 4: the job has 4 steps"},
        Refused{"other_backend", {"--attention-backend", "fa"}, "--attention-backend"},
        Refused{"pictures", {"--output-path", "x"}, "--output-path: attention-search makes no pictures"},
        Refused{"no_prompts", {"--prompts-file", "/nowhere"}, "--prompt"},
        Refused{"unknown_flag", {"--candidate", "1,1,1"}, "--candidate"}),
    [](const auto& suite) { return suite.param.name; });

}  // namespace
}  // namespace tessera::testing
