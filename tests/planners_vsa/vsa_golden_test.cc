// Video sparse attention against recordings of the original implementation (tests/golden/attention).
#include <fstream>

#include <gtest/gtest.h>

#include "attention/coarse_attention.h"
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
};

class VsaRecordings : public testing::TestWithParam<const char*> {
 protected:
  const Recording recording_{GetParam()};
};

// [batch, heads, q tiles, kv tiles]
std::vector<uint8_t> Mask(const BlockPlan& plan) {
  std::vector<uint8_t> mask;
  for (size_t row = 0; row + 1 < plan.row_begin.size(); ++row) {
    mask.resize(mask.size() + static_cast<size_t>(plan.kv_blocks));
    for (int64_t entry = plan.row_begin[row]; entry < plan.row_begin[row + 1]; ++entry) {
      mask[row * static_cast<size_t>(plan.kv_blocks) + static_cast<size_t>(plan.kv_list[static_cast<size_t>(entry)])] =
          1;
    }
  }
  return mask;
}

std::vector<int32_t> Positions(const BlockPlan::Blocks& blocks) {
  if (!blocks.permutation.empty()) return blocks.permutation;
  std::vector<int32_t> positions(static_cast<size_t>(blocks.offsets.back()));
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i);
  return positions;
}

TEST_P(VsaRecordings, CubesLieWhereTheyDid) {
  const auto& run = recording_.runs[0];
  const AttentionProblem problem = RecordedProblem(run["problem"]);
  const auto plan = PlanFor("video_sparse_attn", problem, OptionsFrom(run["config"]));
  RunAt(*plan, PlannerOperands::Recorded(problem, recording_.file));
  const BlockPlan::Blocks& blocks = plan->decision()->q;
  EXPECT_EQ(Positions(blocks), Wholes(recording_.file, "permutation"));
  const auto sizes = Wholes(recording_.file, "block_sizes");
  ASSERT_EQ(blocks.offsets.size(), sizes.size() + 1);
  for (size_t n = 0; n < sizes.size(); ++n) EXPECT_EQ(blocks.offsets[n + 1] - blocks.offsets[n], sizes[n]);
}

TEST_P(VsaRecordings, KeepsTheSameCubes) {
  for (const auto& run : recording_.runs) {
    const std::string name = run["run"];
    const AttentionProblem problem = RecordedProblem(run["problem"]);
    const auto plan = PlanFor("video_sparse_attn", problem, OptionsFrom(run["config"]));
    RunAt(*plan, PlannerOperands::Recorded(problem, recording_.file));
    EXPECT_EQ(Mask(*plan->decision()), Bytes(recording_.file, name + ".block_mask")) << name;
  }
}

TEST_P(VsaRecordings, RoundedLikeTheOriginalItKeepsTheSameCubes) {
  for (const auto& run : recording_.runs) {
    const std::string name = run["run"];
    const AttentionProblem problem = RecordedProblem(run["problem"]);
    Options options = OptionsFrom(run["config"]);
    options.Set("coarse_rounding", std::string("scores"));
    const auto plan = PlanFor("video_sparse_attn", problem, options);
    RunAt(*plan, PlannerOperands::Recorded(problem, recording_.file));
    EXPECT_EQ(Mask(*plan->decision()), Bytes(recording_.file, name + ".block_mask")) << name;
  }
}

TEST_P(VsaRecordings, GivesTheSameOutputs) {
  for (const auto& run : recording_.runs) {
    const std::string name = run["run"];
    const AttentionProblem problem = RecordedProblem(run["problem"]);
    const auto plan = PlanFor("video_sparse_attn", problem, OptionsFrom(run["config"]));
    const auto outcome = RunAt(*plan, PlannerOperands::Recorded(problem, recording_.file));
    EXPECT_LE(MostApart(outcome.out, Floats(recording_.file, name + ".out")), 2e-5) << name;
  }
}

TEST_P(VsaRecordings, CoarseScoresAndOutputsAgree) {
  const auto& run = recording_.runs[0];
  const std::string name = run["run"];
  const AttentionProblem problem = RecordedProblem(run["problem"]);
  const PlannerOperands operands = PlannerOperands::Recorded(problem, recording_.file);
  const GridTiles grid = CutIntoTiles(*problem.grid, {4, 4, 4});
  const MeanShape shape(grid.tiles, problem.head_dim);
  const auto means = [&](const std::vector<float>& values) {
    std::vector<float> result(static_cast<size_t>(problem.batch * problem.heads * shape.head_floats()));
    std::vector<float> scratch(static_cast<size_t>(Threads() * MeanScratchFloats(problem.head_dim)));
    const int64_t row = int64_t{problem.heads} * problem.head_dim;
    const OperandRows rows{{values.data(), problem.q_len * row, row, problem.head_dim},
                           DType::kF32,
                           problem.batch,
                           problem.heads,
                           problem.head_dim};
    AverageTiles(rows, grid, {}, result.data(), scratch.data());
    return result;
  };
  std::vector<float> q = means(operands.q);
  const std::vector<float> k = means(operands.k), v = means(operands.v);
  const std::vector<int32_t> visible(static_cast<size_t>(problem.batch * grid.tiles), 1);
  std::vector<float> scratch(static_cast<size_t>(Threads()) * CoarseScratchFloats(shape));
  std::vector<float> scores(static_cast<size_t>(problem.batch * problem.heads * grid.tiles * grid.tiles));
  AttendCoarsely({.batch = problem.batch,
                  .heads = problem.heads,
                  .kv_heads = problem.heads,
                  .tiles = grid.tiles,
                  .shape = shape,
                  .scale = problem.softmax_scale(),
                  .q_means = q.data(),
                  .k_means = k.data(),
                  .v_means = v.data(),
                  .visible = visible.data()},
                 scratch.data(), [&](int64_t row, int, std::span<const float> found) {
                   std::copy(found.begin(), found.end(), scores.begin() + row * grid.tiles);
                 });
  EXPECT_LE(MostApart(scores, Floats(recording_.file, name + ".scores")), 1e-5);
  const auto coarse = Floats(recording_.file, name + ".coarse");  // [batch, tiles, heads, head_dim]
  std::vector<float> found;
  for (int64_t row = 0; row < problem.batch * grid.tiles * problem.heads; ++row) {
    const int64_t head = row % problem.heads, tile = row / problem.heads % grid.tiles;
    const int64_t set = row / problem.heads / grid.tiles * problem.heads + head;
    const float* from = q.data() + set * shape.head_floats() + tile * shape.channels;
    found.insert(found.end(), from, from + problem.head_dim);
  }
  EXPECT_LE(MostApart(found, coarse), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Files, VsaRecordings,
                         testing::Values("vsa_divisible", "vsa_ragged", "vsa_many", "vsa_one_block"),
                         [](const auto& file) { return std::string(file.param); });

TEST(VsaRules, KeepAsManyCubesAsTheOriginal) {
  std::ifstream file(TESSERA_TEST_FOLDER "/../golden/attention/block_rules.json");
  for (const auto& rule : nlohmann::json::parse(file)["vsa_topk"]) {
    AttentionProblem problem{
        .q_len = rule["blocks"], .kv_len = rule["blocks"], .grid = VideoGrid{1, 1, rule["blocks"]}};
    Options options;
    options.Set("sparsity", rule["sparsity"].get<double>());
    options.Set("tile_size", std::vector<double>{1, 1, 1});
    const auto plan = PlanFor("video_sparse_attn", problem, options);
    EXPECT_EQ(std::lround(plan->ExpectedDensity(-1, -1) * rule["blocks"].get<double>()), rule["topk"]) << rule;
  }
}

}  // namespace
}  // namespace tessera
