// VMoBA against recordings of the original implementation (tests/golden/attention).
#include <fstream>

#include <gtest/gtest.h>

#include "attention/block_means.h"
#include "parallel/parallel_for.h"
#include "planners_vsa/planner_call.h"

namespace tessera {
namespace {

struct Recording {
  SafetensorsFile file;
  nlohmann::json runs;
  explicit Recording(const std::string& name)
      : file(TESSERA_TEST_FOLDER "/../golden/attention/" + name + ".safetensors"),
        runs(nlohmann::json::parse(file.header().metadata.at("runs"))) {}

  // Pairs that a mask of tokens by chunks shows; `all` in place of the mask where we choose everything.
  std::vector<uint8_t> Pairs(const std::string& run, bool all) const {
    const auto mask = Bytes(file, run + ".block_mask");
    const auto chunk = Wholes(file, run + ".block_of_token");
    const size_t chunks = static_cast<size_t>(*std::max_element(chunk.begin(), chunk.end())) + 1;
    std::vector<uint8_t> pairs;
    for (size_t query = 0; query < mask.size() / chunks; ++query) {
      for (const int32_t key : chunk) pairs.push_back(all ? 1 : mask[query * chunks + static_cast<size_t>(key)]);
    }
    return pairs;
  }
};

Options OptionsOf(const nlohmann::json& run, bool quirks) {
  Options options = OptionsFrom(run["config"]);
  options.Set("original_quirks", quirks);
  return options;
}

class VmobaRecordings : public testing::TestWithParam<const char*> {
 protected:
  void Expect(const nlohmann::json& run, bool quirks) {
    const std::string name = run["run"];
    SCOPED_TRACE(name);
    const AttentionProblem problem = RecordedProblem(run["problem"]);
    const PlannerOperands operands = PlannerOperands::Recorded(problem, recording_.file);
    const auto plan = PlanFor("vmoba_attn", problem, OptionsOf(run, quirks));
    const auto outcome = RunAt(*plan, operands, {.step = run["step"], .layer = run["layer"]});
    if (!quirks || !run.contains("dense_fallback")) {
      ASSERT_NE(plan->decision(), nullptr);
      EXPECT_EQ(plan->decision()->Defect(problem.batch * problem.heads, problem.q_len, problem.kv_len), "");
      EXPECT_EQ(SeenPairs(plan->decision(), operands), recording_.Pairs(name, !quirks && run.contains("cut_is_one")));
    }
    const bool clean = !quirks || run.contains("leaks_across_samples");
    const std::string out =
        name + (clean && recording_.file.Contains(name + ".out_without_quirk") ? ".out_without_quirk" : ".out");
    EXPECT_LE(MostApart(outcome.out, Floats(recording_.file, out)), 2e-5);
  }
  const Recording recording_{GetParam()};
};

TEST_P(VmobaRecordings, ChoosesTheSameChunksWithoutQuirks) {
  for (const auto& run : recording_.runs) Expect(run, false);
}

TEST_P(VmobaRecordings, RepeatsTheQuirksOnRequest) {
  for (const auto& run : recording_.runs) Expect(run, true);
}

TEST_P(VmobaRecordings, MeanKeysAgree) {
  const auto& run = recording_.runs[0];
  const std::string name = run["run"];
  const AttentionProblem problem = RecordedProblem(run["problem"]);
  const PlannerOperands operands = PlannerOperands::Recorded(problem, recording_.file);
  const int64_t frames = run["config"]["temporal_chunk_size"], row = int64_t{problem.heads} * problem.head_dim;
  const GridTiles grid = CutIntoTiles(*problem.grid, {frames, problem.grid->h, problem.grid->w});
  const MeanShape shape(grid.tiles, problem.head_dim);
  std::vector<float> means(static_cast<size_t>(problem.batch * problem.heads * shape.head_floats()));
  std::vector<float> scratch(static_cast<size_t>(Threads() * MeanScratchFloats(problem.head_dim))), found;
  AverageTiles({{operands.k.data(), problem.q_len * row, row, problem.head_dim},
                DType::kF32,
                problem.batch,
                problem.heads,
                problem.head_dim},
               grid, {}, means.data(), scratch.data());
  for (int64_t at = 0; at < problem.batch * grid.tiles * problem.heads; ++at) {
    const int64_t set = at / problem.heads / grid.tiles * problem.heads + at % problem.heads;
    const float* mean = means.data() + set * shape.head_floats() + at / problem.heads % grid.tiles * shape.channels;
    found.insert(found.end(), mean, mean + problem.head_dim);
  }
  EXPECT_LE(MostApart(found, Floats(recording_.file, name + ".chunk_mean")), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Files, VmobaRecordings, testing::Values("vmoba_layers", "vmoba_groups", "vmoba_edges"),
                         [](const auto& file) { return std::string(file.param); });

TEST(VmobaRules, LayersTakeTurnsLikeTheOriginal) {
  std::ifstream file(TESSERA_TEST_FOLDER "/../golden/attention/block_rules.json");
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d8 q120 kv120 mask=none grid=2x6x10");
  const PlannerOperands operands = PlannerOperands::Random(problem, 1);
  const std::map<std::string, int> chunks = {{"temporal", 2}, {"spatial", 3}, {"st", 5}};
  for (const auto& rule : nlohmann::json::parse(file)["vmoba_layer_cycle"]) {
    Options options;
    options.Set("temporal_chunk_size", int64_t{1});
    options.Set("spatial_chunk_size", std::vector<double>{2, 10});
    options.Set("st_chunk_size", std::vector<double>{2, 6, 2});
    options.Set("original_quirks", true);  // layers before the first full one are not dense
    for (const char* key : {"first_full_layer", "temporal_layer", "spatial_layer", "st_layer"}) {
      options.Set(key, rule[key].get<int64_t>());
    }
    const auto plan = PlanFor("vmoba_attn", problem, options);
    for (int layer = 0; layer < 12; ++layer) {
      RunAt(*plan, operands, {.layer = layer});
      ASSERT_NE(plan->decision(), nullptr);
      EXPECT_EQ(plan->decision()->kv_blocks, chunks.at(rule["kind_of_layer"][static_cast<size_t>(layer)])) << rule;
    }
  }
}

}  // namespace
}  // namespace tessera
