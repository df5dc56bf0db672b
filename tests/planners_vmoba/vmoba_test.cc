// VMoBA on any grid, against its definition in doubles.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/registry.h"
#include "base/error.h"
#include "parallel/parallel_for.h"
#include "planners_vmoba/chunk_definition.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

// Every layer cuts along t, h and w.
Options OptionsOf(const ChunkSettings& settings) {
  Options options;
  options.Set("temporal_layer", int64_t{0});
  options.Set("spatial_layer", int64_t{0});
  options.Set("st_chunk_size", std::vector<double>(settings.chunk.begin(), settings.chunk.end()));
  options.Set("st_topk", settings.top);
  options.Set("moba_select_mode", settings.mode);
  options.Set("moba_threshold", settings.threshold);
  options.Set("moba_threshold_type", settings.type);
  options.Set("first_full_step", int64_t{0});
  return options;
}

PlannerOutcome RunOnce(const PlannerOperands& operands, const ChunkSettings& settings) {
  return RunAt(*PlanFor("vmoba_attn", operands.problem, OptionsOf(settings)), operands);
}

struct Example {
  const char* line;
  ChunkSettings settings;
};

class VmobaExamples : public testing::TestWithParam<Example> {};

TEST_P(VmobaExamples, FollowTheDefinition) {
  const Example& example = GetParam();
  const AttentionProblem problem = ParseAttentionProblem(example.line);
  const PlannerOperands operands = PlannerOperands::Random(problem, 21);
  const auto plan = PlanFor("vmoba_attn", problem, OptionsOf(example.settings));
  const PlannerOutcome outcome = RunAt(*plan, operands);
  ASSERT_NE(plan->decision(), nullptr);
  EXPECT_EQ(plan->decision()->Defect(problem.batch * problem.heads, problem.q_len, problem.kv_len), "");
  const auto seen = DefinedPairs(operands, example.settings);
  EXPECT_EQ(SeenPairs(plan->decision(), operands), seen);
  EXPECT_LE(MostApart(outcome.out, Attend(operands, seen)), problem.dtype == DType::kF32 ? 2e-5 : 0.04);
}

std::vector<Example> Examples() {
  std::vector<Example> examples;
  const std::vector<std::pair<const char*, std::array<int64_t, 3>>> grids = {
      {"f32 b2 h2/2 d32 q210 kv210 mask=none grid=5x6x7", {2, 4, 3}},
      {"f32 b1 h4/2 d20 q173 kv173 mask=none grid=1x12x13+9+8", {1, 5, 5}},
      {"f32 b2 h1/1 d40 q101 kv101 mask=none grid=9x3x3+20 scale=0.4", {2, 3, 3}},
      {"bf16 b1 h2/2 d64 q192 kv192 mask=none grid=3x8x8", {3, 2, 4}}};
  for (const auto& [line, chunk] : grids) {
    for (const char* type : {"query_head", "block", "head_global", "overall"}) {
      for (const double threshold : {0.0, 0.3, 1.01}) {
        examples.push_back({line, {chunk, "threshold", type, 1, threshold}});
      }
      for (const int64_t top : {1, 3, 100}) {
        if (std::string(type) != "block") examples.push_back({line, {chunk, "topk", type, top, 0.25}});
      }
    }
  }
  return examples;
}

INSTANTIATE_TEST_SUITE_P(Grids, VmobaExamples, testing::ValuesIn(Examples()), [](const auto& test) {
  const ChunkSettings& settings = test.param.settings;
  return std::to_string(test.index) + "_" + settings.mode + "_" + settings.type;
});

TEST(Vmoba, AllChunksAreDenseAttention) {
  const PlannerOperands operands =
      PlannerOperands::Random(ParseAttentionProblem("f32 b2 h2/2 d32 q140 kv140 mask=none grid=5x5x5+8+7"), 1);
  const std::vector<double> dense = Attend(operands, SeenPairs(nullptr, operands));
  EXPECT_LE(MostApart(RunOnce(operands, {.chunk = {2, 2, 2}, .top = 99}).out, dense), 1e-5);
  EXPECT_LE(MostApart(RunOnce(operands, {.chunk = {2, 2, 2}, .mode = "threshold", .threshold = 1.01}).out, dense),
            1e-5);
}

TEST(Vmoba, KeysAlikeAreChosenInTheirOrder) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d16 q40 kv40 mask=none grid=10x2x2");
  PlannerOperands operands = PlannerOperands::Random(problem, 3);
  std::fill(operands.k.begin(), operands.k.end(), 0.0f);
  for (const char* type : {"query_head", "overall"}) {
    const ChunkSettings settings{.chunk = {2, 2, 2}, .type = type, .top = 2};
    const auto plan = PlanFor("vmoba_attn", problem, OptionsOf(settings));
    RunAt(*plan, operands);
    EXPECT_EQ(SeenPairs(plan->decision(), operands), DefinedPairs(operands, settings)) << type;
  }
}

TEST(Vmoba, IsDenseInTheFirstStepsAndLayers) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d16 q64 kv64 mask=none grid=4x4x4");
  const PlannerOperands operands = PlannerOperands::Random(problem, 4);
  Options options = OptionsOf({.chunk = {1, 4, 4}, .top = 2});
  options.Set("first_full_step", int64_t{3});
  options.Set("first_full_layer", int64_t{2});
  const auto plan = PlanFor("vmoba_attn", problem, options);
  for (const int step : {0, 2, 3, 9}) {
    for (const int layer : {0, 1, 2, 5}) {
      const double density = RunAt(*plan, operands, {step, layer}).density;
      EXPECT_EQ(density, step < 3 || layer < 2 ? 1 : 0.5) << step << " " << layer;
      EXPECT_EQ(plan->ExpectedDensity(step, layer), density);
    }
  }
}

TEST(Vmoba, ACallOutsideOfDenoisingIsSparse) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d16 q64 kv64 mask=none grid=4x4x4");
  Options options = OptionsOf({.chunk = {1, 4, 4}, .top = 2});
  options.Set("first_full_step", int64_t{3});
  const auto plan = PlanFor("vmoba_attn", problem, options);
  EXPECT_EQ(RunAt(*plan, PlannerOperands::Random(problem, 4), {.step = -1}).density, 0.5);
}

TEST(Vmoba, KindsOfLayersTakeTurnsInOnePlan) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h2/2 d16 q222 kv222 mask=none grid=6x6x6+6");
  const PlannerOperands operands = PlannerOperands::Random(problem, 5);
  Options options = OptionsOf({.chunk = {2, 2, 3}, .top = 4});
  options.Set("temporal_layer", int64_t{1});
  options.Set("spatial_layer", int64_t{1});
  options.Set("temporal_topk", int64_t{2});
  options.Set("spatial_topk", int64_t{3});
  options.Set("spatial_chunk_size", std::vector<double>{4, 4});
  const auto plan = PlanFor("vmoba_attn", problem, options);
  const std::array<ChunkSettings, 3> kinds = {ChunkSettings{.chunk = {2, 6, 6}, .top = 2},
                                              ChunkSettings{.chunk = {6, 4, 4}, .top = 3},
                                              ChunkSettings{.chunk = {2, 2, 3}, .top = 4}};
  for (const int layer : {0, 1, 2, 4, 3, 3, 8}) {
    RunAt(*plan, operands, {.layer = layer});
    EXPECT_EQ(SeenPairs(plan->decision(), operands), DefinedPairs(operands, kinds[static_cast<size_t>(layer % 3)]))
        << layer;
  }
}

TEST(Vmoba, HiddenKeysMayHoldAnything) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b2 h2/2 d32 q170 kv170 mask=lens grid=6x5x5+0+20");
  for (const char* type : {"query_head", "block", "head_global", "overall"}) {
    PlannerOperands operands = PlannerOperands::Random(problem, 6);
    operands.key_lengths = {157, 90};
    const ChunkSettings settings{.chunk = {1, 5, 5}, .mode = "threshold", .type = type, .threshold = 0.4};
    const PlannerOutcome clean = RunOnce(operands, settings);
    for (std::vector<float>* values : {&operands.k, &operands.v}) {
      for (int64_t batch = 0; batch < 2; ++batch) {
        const int64_t row = int64_t{problem.heads} * problem.head_dim;
        std::fill(values->begin() + (batch * 170 + operands.key_lengths[static_cast<size_t>(batch)]) * row,
                  values->begin() + (batch + 1) * 170 * row, NAN);
      }
    }
    EXPECT_EQ(RunOnce(operands, settings).out, clean.out) << type;
  }
}

TEST(Vmoba, AnyNumberOfThreadsGivesTheSameBytes) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b2 h3/3 d32 q602 kv602 mask=none grid=6x10x10+2");
  const PlannerOperands operands = PlannerOperands::Random(problem, 8);
  for (const char* type : {"query_head", "block", "head_global", "overall"}) {
    const ChunkSettings settings{.chunk = {2, 3, 3}, .mode = "threshold", .type = type, .threshold = 0.3};
    SetThreads(1);
    const PlannerOutcome one = RunOnce(operands, settings);
    for (const int threads : {2, 5}) {
      SetThreads(threads);
      const PlannerOutcome many = RunOnce(operands, settings);
      EXPECT_EQ(many.out, one.out) << type;
      EXPECT_EQ(many.lse, one.lse) << type;
    }
  }
  SetThreads(0);
}

TEST(Vmoba, RunsWithoutAllocating) {
  SetThreads(1);
  const AttentionProblem problem = ParseAttentionProblem("bf16 b1 h2/2 d32 q226 kv226 mask=none grid=6x6x6+4+6");
  for (const char* type : {"query_head", "block", "head_global", "overall"}) {
    PlannerOperands operands = PlannerOperands::Random(problem, 10);
    Options options = OptionsOf({.chunk = {1, 3, 3}, .mode = "threshold", .type = type, .threshold = 0.2});
    options.Set("spatial_layer", int64_t{1});
    const auto plan = PlanFor("vmoba_attn", problem, options);
    for (const int layer : {0, 1, 2}) EXPECT_EQ(RunAt(*plan, operands, {.layer = layer}).allocations, 0) << type;
  }
  SetThreads(0);
}

TEST(Vmoba, WorksWithEveryKernelThatWalksBlocks) {
  const AttentionProblem problem = ParseAttentionProblem("bf16 b1 h2/2 d64 q330 kv330 mask=none grid=5x8x8+4+6 lse");
  const PlannerOperands operands = PlannerOperands::Random(problem, 12);
  const ChunkSettings settings{.chunk = {2, 4, 4}, .top = 5};
  const std::vector<double> exact = Attend(operands, DefinedPairs(operands, settings));
  EXPECT_GE(ExpectEveryKernelRight("vmoba_attn", operands, OptionsOf(settings), exact), 3);
}

TEST(Vmoba, RefusesSettingsThatDoNotGoTogether) {
  const AttentionProblem problem = ParseAttentionProblem("f32 b1 h1/1 d32 q8 kv8 mask=none grid=2x2x2");
  const auto error = [&](const std::string& key, const OptionValue& value) {
    Options options = OptionsOf({.type = "block"});
    options.Set("moba_select_mode", std::string("threshold"));
    options.Set(key, value);
    return ErrorOf([&] { PlanFor("vmoba_attn", problem, options); });
  };
  EXPECT_THAT(error("moba_select_mode", std::string("topk")),
              HasSubstr("moba_select_mode=topk does not go with moba_threshold_type=block"));
  EXPECT_THAT(error("st_layer", int64_t{0}), HasSubstr("are all 0"));
  EXPECT_THAT(error("st_chunk_size", std::vector<double>{4, 4}), HasSubstr("wanted 3 whole numbers, got 2"));
  EXPECT_THAT(error("spatial_chunk_size", std::vector<double>{4, 0.5}), HasSubstr("out of range"));
  EXPECT_THAT(error("moba_threshold", -0.1), HasSubstr("out of range"));
  EXPECT_THAT(error("st_topk", int64_t{0}), HasSubstr("out of range"));
  EXPECT_THAT(error("st_topkk", int64_t{1}), HasSubstr("did you mean 'st_topk'"));
}

TEST(Vmoba, DeclaresTheDocumentedKeys) {
  const AttentionBackend& backend = AttentionRegistry::BuiltIn().Find("vmoba");
  for (const char* key : {"temporal_chunk_size", "temporal_topk", "spatial_chunk_size", "spatial_topk", "st_chunk_size",
                          "st_topk", "moba_select_mode", "moba_threshold", "moba_threshold_type", "first_full_step",
                          "first_full_layer", "temporal_layer", "spatial_layer", "st_layer"}) {
    EXPECT_NE(FindOption(backend, key), nullptr) << key;
  }
  EXPECT_EQ(backend.option_group, "moba_config");
}

}  // namespace
}  // namespace tessera
