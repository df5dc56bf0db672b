// Video sparse attention on any grid, against its definition in doubles.
#include <cmath>
#include <numeric>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "parallel/parallel_for.h"
#include "planners_vsa/planner_call.h"
#include "platform/cpu/cpu.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

Options Sparsity(double sparsity, std::vector<double> tile = {4, 4, 4}) {
  Options options;
  options.Set("sparsity", sparsity);
  options.Set("tile_size", std::move(tile));
  return options;
}

PlannerOutcome RunOnce(const PlannerOperands& operands, const Options& options) {
  return RunAt(*PlanFor("video_sparse_attn", operands.problem, options), operands);
}

// The definition, with cubes found from the coordinates of every token.
class Definition {
 public:
  Definition(const PlannerOperands& operands, double sparsity, const std::vector<int64_t>& tile)
      : operands_(operands), problem_(operands.problem), grid_(*problem_.grid), tile_(tile) {
    for (size_t axis = 0; axis < 3; ++axis) {
      const int64_t tokens = axis == 0 ? grid_.t : axis == 1 ? grid_.h : grid_.w;
      tiles_[axis] = (tokens + tile[axis] - 1) / tile[axis];
    }
    cubes_ = tiles_[0] * tiles_[1] * tiles_[2];
    kept_ = std::max<int64_t>(1, static_cast<int64_t>(std::ceil((1 - sparsity) * static_cast<double>(cubes_))));
  }

  // -1: text.
  int64_t CubeOf(int64_t token) const {
    const int64_t raster = token - grid_.prefix;
    if (raster < 0 || raster >= grid_.t * grid_.h * grid_.w) return -1;
    const int64_t w = raster % grid_.w, h = raster / grid_.w % grid_.h, t = raster / grid_.w / grid_.h;
    return (t / tile_[0] * tiles_[1] + h / tile_[1]) * tiles_[2] + w / tile_[2];
  }

  std::vector<double> Mean(const std::vector<float>& values, int heads, int64_t batch, int head, int64_t cube) const {
    std::vector<double> mean(static_cast<size_t>(problem_.head_dim));
    double count = 0;
    for (int64_t token = 0; token < problem_.q_len; ++token) {
      if (CubeOf(token) != cube) continue;
      ++count;
      const float* row = operands_.Row(values, heads, batch, token, head);
      for (size_t d = 0; d < mean.size(); ++d) mean[d] += static_cast<double>(row[d]);
    }
    for (double& value : mean) value /= count;
    return mean;
  }

  struct Head {
    std::vector<std::vector<double>> scores;  // [q cube][kv cube]
    std::vector<std::vector<double>> coarse;  // [q cube][head_dim]
  };

  Head Coarse(int64_t batch, int head) const {
    const int kv_head = head / (problem_.heads / problem_.kv_heads);
    std::vector<std::vector<double>> k, v;
    for (int64_t cube = 0; cube < cubes_; ++cube) {
      k.push_back(Mean(operands_.k, problem_.kv_heads, batch, kv_head, cube));
      v.push_back(Mean(operands_.v, problem_.kv_heads, batch, kv_head, cube));
    }
    Head result;
    for (int64_t cube = 0; cube < cubes_; ++cube) {
      const auto q = Mean(operands_.q, problem_.heads, batch, head, cube);
      std::vector<double> scores, output(q.size());
      for (const auto& key : k) {
        scores.push_back(std::inner_product(q.begin(), q.end(), key.begin(), 0.0) *
                         static_cast<double>(problem_.softmax_scale()));
      }
      double sum = 0;
      for (const double score : scores) sum += std::exp(score);
      for (size_t n = 0; n < scores.size(); ++n) {
        for (size_t d = 0; d < output.size(); ++d) output[d] += std::exp(scores[n]) / sum * v[n][d];
      }
      result.scores.push_back(scores);
      result.coarse.push_back(output);
    }
    return result;
  }

  std::vector<uint8_t> Seen() const {
    const int64_t length = problem_.q_len;
    std::vector<uint8_t> seen;
    for (int64_t set = 0; set < problem_.batch * problem_.heads; ++set) {
      const Head coarse = Coarse(set / problem_.heads, static_cast<int>(set % problem_.heads));
      for (int64_t query = 0; query < length; ++query) {
        for (int64_t key = 0; key < length; ++key) seen.push_back(Sees(coarse, CubeOf(query), CubeOf(key)));
      }
    }
    return seen;
  }

  std::vector<double> Output() const {
    std::vector<double> out = Attend(operands_, Seen());
    for (int64_t set = 0; problem_.has_gate && set < problem_.batch * problem_.heads; ++set) {
      const int64_t batch = set / problem_.heads;
      const int head = static_cast<int>(set % problem_.heads);
      const Head coarse = Coarse(batch, head);
      for (int64_t token = 0; token < problem_.q_len; ++token) {
        if (CubeOf(token) < 0) continue;
        const float* gate = operands_.Row(operands_.gate, problem_.heads, batch, token, head);
        const int64_t at = gate - operands_.gate.data();
        for (int d = 0; d < problem_.head_dim; ++d) {
          out[static_cast<size_t>(at + d)] +=
              static_cast<double>(gate[d]) * coarse.coarse[static_cast<size_t>(CubeOf(token))][static_cast<size_t>(d)];
        }
      }
    }
    return out;
  }

 private:
  // Among the kept best: fewer than kept_ cubes are better.
  bool Sees(const Head& coarse, int64_t query, int64_t key) const {
    if (query < 0 || key < 0) return true;
    const auto& scores = coarse.scores[static_cast<size_t>(query)];
    const double mine = scores[static_cast<size_t>(key)];
    return std::count_if(scores.begin(), scores.end(), [&](double score) { return score > mine; }) < kept_;
  }

  const PlannerOperands& operands_;
  const AttentionProblem& problem_;
  const VideoGrid grid_;
  const std::vector<int64_t> tile_;
  std::array<int64_t, 3> tiles_ = {};
  int64_t cubes_ = 0, kept_ = 0;
};

struct Example {
  const char* line;
  double sparsity;
  std::vector<double> tile = {4, 4, 4};
};

class VsaExamples : public testing::TestWithParam<Example> {};

TEST_P(VsaExamples, FollowTheDefinition) {
  const Example& example = GetParam();
  const AttentionProblem problem = ParseAttentionProblem(example.line);
  const PlannerOperands operands = PlannerOperands::Random(problem, 7);
  const std::vector<int64_t> tile(example.tile.begin(), example.tile.end());
  const Definition definition(operands, example.sparsity, tile);
  const auto plan = PlanFor("video_sparse_attn", problem, Sparsity(example.sparsity, example.tile));
  const PlannerOutcome outcome = RunAt(*plan, operands);
  EXPECT_EQ(plan->decision()->Defect(problem.batch * problem.heads, problem.q_len, problem.kv_len), "");
  EXPECT_EQ(SeenPairs(plan->decision(), operands), definition.Seen());
  EXPECT_LE(MostApart(outcome.out, definition.Output()), problem.dtype == DType::kF32 ? 2e-5 : 0.04);
}

INSTANTIATE_TEST_SUITE_P(
    Grids, VsaExamples,
    testing::Values(Example{"f32 b2 h2/2 d32 q180 kv180 mask=none grid=5x6x6", 0.6},
                    Example{"f32 b1 h3/3 d20 q301 kv301 mask=none grid=6x5x9+13+18 gate", 0.7},
                    Example{"f32 b1 h4/2 d40 q169 kv169 mask=none grid=1x13x13", 0.75},
                    Example{"f32 b1 h2/1 d64 q300 kv300 mask=none grid=1x16x16+44+0 gate", 0.5, {1, 8, 8}},
                    Example{"f32 b2 h1/1 d16 q343 kv343 mask=none grid=7x7x7 scale=0.3", 0.9, {2, 3, 4}},
                    Example{"bf16 b1 h2/2 d64 q260 kv260 mask=none grid=4x8x8+0+4 gate", 0.5},
                    Example{"f16 b1 h2/2 d48 q192 kv192 mask=none grid=3x8x8 gate", 0.4},
                    Example{"f32 b1 h1/1 d8 q3 kv3 mask=none grid=1x1x1+1+1", 0.5}));

TEST(Vsa, WithoutSparsityItIsDense) {
  const PlannerOperands operands =
      PlannerOperands::Random(ParseAttentionProblem("f32 b2 h2/2 d32 q157 kv157 mask=none grid=5x5x6+7"), 1);
  const std::vector<uint8_t> all(SeenPairs(nullptr, operands));
  EXPECT_LE(MostApart(RunOnce(operands, Sparsity(0)).out, Attend(operands, all)), 1e-5);
}

TEST(Vsa, AtLeastOneCubeIsKept) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h2/2 d32 q180 kv180 mask=none grid=5x6x6");
  const PlannerOperands operands = PlannerOperands::Random(problem, 2);
  const auto plan = PlanFor("video_sparse_attn", problem, Sparsity(1));
  RunAt(*plan, operands);
  EXPECT_EQ(plan->decision()->kv_list.size(), 2u * static_cast<size_t>(plan->decision()->q_blocks));
}

TEST(Vsa, EqualScoresKeepTheFirstCubes) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d16 q320 kv320 mask=none grid=4x8x10");
  PlannerOperands operands = PlannerOperands::Random(problem, 3);
  std::fill(operands.k.begin(), operands.k.end(), 0.0f);
  const auto plan = PlanFor("video_sparse_attn", problem, Sparsity(0.6));
  RunAt(*plan, operands);
  const BlockPlan& decision = *plan->decision();
  for (size_t entry = 0; entry < decision.kv_list.size(); ++entry) {
    EXPECT_EQ(decision.kv_list[entry], static_cast<int32_t>(entry % 3));
  }
}

TEST(Vsa, HiddenKeysMayHoldAnything) {
  AttentionProblem problem = ParseAttentionProblem("f32 b2 h2/2 d32 q200 kv200 mask=lens grid=5x6x6+0+20");
  PlannerOperands operands = PlannerOperands::Random(problem, 4);
  operands.key_lengths = {187, 100};
  const PlannerOutcome clean = RunOnce(operands, Sparsity(0.5));
  for (std::vector<float>* values : {&operands.k, &operands.v}) {
    for (int64_t batch = 0; batch < 2; ++batch) {
      const int64_t row = int64_t{problem.heads} * problem.head_dim;
      std::fill(values->begin() + (batch * 200 + operands.key_lengths[static_cast<size_t>(batch)]) * row,
                values->begin() + (batch + 1) * 200 * row, NAN);
    }
  }
  EXPECT_EQ(RunOnce(operands, Sparsity(0.5)).out, clean.out);
}

TEST(Vsa, CubesWithoutAVisibleKeyDoNotCount) {
  AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d32 q256 kv256 mask=lens grid=16x4x4");
  PlannerOperands operands = PlannerOperands::Random(problem, 5);
  operands.key_lengths = {100};
  const auto plan = PlanFor("video_sparse_attn", problem, Sparsity(0));
  const PlannerOutcome outcome = RunAt(*plan, operands);
  EXPECT_THAT(plan->decision()->kv_list, testing::ElementsAre(0, 1, 0, 1, 0, 1, 0, 1));
  EXPECT_LE(MostApart(outcome.out, Attend(operands, SeenPairs(nullptr, operands))), 1e-5);
}

TEST(Vsa, TheGateDoesNotChangeTheLogSumExp) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h2/2 d32 q180 kv180 mask=none grid=5x6x6 gate");
  PlannerOperands operands = PlannerOperands::Random(problem, 6);
  const PlannerOutcome gated = RunOnce(operands, Sparsity(0.5));
  operands.problem.has_gate = false;
  const PlannerOutcome plain = RunOnce(operands, Sparsity(0.5));
  EXPECT_EQ(gated.lse, plain.lse);
  EXPECT_NE(gated.out, plain.out);
}

TEST(Vsa, AnyNumberOfThreadsGivesTheSameBytes) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h3/3 d32 q587 kv587 mask=none grid=5x9x13+2 gate");
  const PlannerOperands operands = PlannerOperands::Random(problem, 8);
  SetThreads(1);
  const PlannerOutcome one = RunOnce(operands, Sparsity(0.7));
  for (const int threads : {2, 5}) {
    SetThreads(threads);
    const PlannerOutcome many = RunOnce(operands, Sparsity(0.7));
    EXPECT_EQ(many.out, one.out);
    EXPECT_EQ(many.lse, one.lse);
  }
  SetThreads(0);
}

TEST(Vsa, EveryInstructionSetKeepsTheSameCubes) {
  const AttentionProblem problem = ParseAttentionProblem("bf16 b1 h2/2 d72 q585 kv585 mask=none grid=5x9x13 gate");
  const PlannerOperands operands = PlannerOperands::Random(problem, 9);
  std::vector<int32_t> first;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (isa > MachineIsa()) continue;
    SetActiveIsa(isa);
    const auto plan = PlanFor("video_sparse_attn", problem, Sparsity(0.8));
    RunAt(*plan, operands);
    if (first.empty()) first = plan->decision()->kv_list;
    EXPECT_EQ(plan->decision()->kv_list, first) << Name(isa);
  }
  SetActiveIsa(MachineIsa());
}

TEST(Vsa, RunsWithoutAllocating) {
  SetThreads(1);
  const AttentionProblem problem = ParseAttentionProblem("bf16 b1 h2/2 d32 q190 kv190 mask=none grid=5x6x6+4+6 gate");
  const PlannerOperands operands = PlannerOperands::Random(problem, 10);
  const auto plan = PlanFor("video_sparse_attn", problem, Sparsity(0.5));
  EXPECT_EQ(RunAt(*plan, operands).allocations, 0);
  SetThreads(0);
}

TEST(Vsa, ExpectsTheDensityItReaches) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h2/2 d32 q266 kv266 mask=none grid=4x8x8+4+6");
  const auto plan = PlanFor("video_sparse_attn", problem, Sparsity(0.75));
  const PlannerOutcome outcome = RunAt(*plan, PlannerOperands::Random(problem, 11));
  EXPECT_NEAR(plan->ExpectedDensity(-1, -1), outcome.density, 1e-9);
}

TEST(Vsa, WorksWithEveryKernelThatWalksBlocks) {
  const AttentionProblem problem =
      ParseAttentionProblem("bf16 b1 h2/2 d64 q330 kv330 mask=none grid=5x8x8+4+6 gate lse");
  const PlannerOperands operands = PlannerOperands::Random(problem, 12);
  const std::vector<double> exact = Definition(operands, 0.5, {4, 4, 4}).Output();
  EXPECT_GE(ExpectEveryKernelRight("video_sparse_attn", operands, Sparsity(0.5), exact), 3);
}

TEST(Vsa, RefusesTileSizesThatAreNone) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d32 q8 kv8 mask=none grid=2x2x2");
  const auto error = [&](std::vector<double> tile) {
    return ErrorOf([&] { PlanFor("video_sparse_attn", problem, Sparsity(0.5, std::move(tile))); });
  };
  EXPECT_THAT(error({4, 4}), HasSubstr("option 'tile_size' of attention backend 'video_sparse_attn'"));
  EXPECT_THAT(error({4, 4}), HasSubstr("wanted 3 whole numbers, got 2"));
  EXPECT_THAT(error({4, 4, 2.5}), HasSubstr("wanted 3 whole numbers, got a fraction"));
  EXPECT_THAT(error({4, 4, 0}), HasSubstr("out of range"));
}

TEST(Vsa, TakesBothSpellingsOfSparsity) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d32 q128 kv128 mask=none grid=4x4x8");
  Options options;
  options.Set("VSA_sparsity", 0.5);
  EXPECT_NEAR(PlanFor("video_sparse_attn", problem, options)->ExpectedDensity(-1, -1), 0.5, 1e-9);
  options.Set("sparsity", 0.5);
  EXPECT_THAT(ErrorOf([&] { PlanFor("video_sparse_attn", problem, options); }), HasSubstr("given twice"));
}

}  // namespace
}  // namespace tessera
