// The original implementation's block masks and outputs, file by file.
#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "attention/grid_tiles.h"
#include "attention/registry.h"
#include "planners_sta/sta_call.h"
#include "platform/cpu/cpu.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

using nlohmann::json;

const std::string kFolder = TESSERA_SOURCE_FOLDER "/tests/golden/attention/";

Options OptionsOf(const json& config) {
  Options options;
  for (const auto& item : config.items()) {
    if (item.value().is_array()) options.Set(item.key(), item.value().get<std::vector<double>>());
    if (item.value().is_number()) options.Set(item.key(), item.value().get<int64_t>());
    if (!item.value().is_string()) continue;
    const auto text = item.value().get<std::string>();
    options.Set(item.key(), item.key() == "mask_strategy_file_path" ? kFolder + text : text);
  }
  return options;
}

std::vector<float> Floats(const Tensor& tensor) {
  return {tensor.data<float>(), tensor.data<float>() + tensor.numel()};
}

class StaGolden : public testing::TestWithParam<const char*> {
 protected:
  // Runs one of the recorded runs; the plan holds the decision.
  std::unique_ptr<AttentionPlan> Run(const json& run, StaCall& call) {
    call.q = Floats(file_.Get("q"));
    call.k = Floats(file_.Get("k"));
    call.v = Floats(file_.Get("v"));
    if ((call.problem.mask & kMaskKeyLengths) != 0) {
      const Tensor lengths = file_.Get(run["run"].get<std::string>() + ".key_lengths");
      call.key_lengths.assign(lengths.data<int32_t>(), lengths.data<int32_t>() + lengths.numel());
    }
    auto plan = MakePlan(AttentionRegistry::BuiltIn().Find("sliding_tile_attn"), call.problem, CpuDevice(),
                         OptionsOf(run["config"]));
    plan->BeginRequest({.steps = 10, .layers = 10});
    plan->BeginStep(run["step"].get<int>());
    call.Run(*plan, {.layer = run["layer"].get<int>()});
    return plan;
  }
  json Runs() const { return json::parse(file_.header().metadata.at("runs")); }

  SafetensorsFile file_{kFolder + GetParam() + ".safetensors"};
};

TEST_P(StaGolden, PositionsAreThoseOfTheOriginal) {
  const json run = Runs()[0];
  const AttentionProblem problem = F32Problem(run["problem"].get<std::string>());
  const auto size = run["config"]["tile_size"].get<TileSize>();
  const GridTiles tiles = CutIntoTiles(*problem.grid, size);
  const Tensor permutation = file_.Get("permutation"), blocks = file_.Get("block_of_token");
  ASSERT_EQ(permutation.numel(), tiles.video_tokens());
  for (int64_t position = 0; position < permutation.numel(); ++position) {
    ASSERT_EQ(tiles.permutation[static_cast<size_t>(position)], permutation.data<int32_t>()[position]);
  }
  for (int32_t tile = 0; tile < tiles.tiles; ++tile) {
    for (int32_t at = tiles.offsets[static_cast<size_t>(tile)]; at < tiles.offsets[static_cast<size_t>(tile) + 1];
         ++at) {
      ASSERT_EQ(blocks.data<int32_t>()[tiles.permutation[static_cast<size_t>(at)]], tile);
    }
  }
}

TEST_P(StaGolden, DecisionsAreThoseOfTheOriginal) {
  const Tensor blocks = file_.Get("block_of_token");
  for (const json& run : Runs()) {
    SCOPED_TRACE(run["run"].get<std::string>());
    StaCall call(F32Problem(run["problem"].get<std::string>()), 0);
    const auto plan = Run(run, call);
    const auto pairs = VisiblePairs(call.problem, plan->decision());
    const Tensor mask = file_.Get(run["run"].get<std::string>() + ".block_mask");
    const int64_t length = call.problem.q_len, rows = mask.dim(2), columns = mask.dim(3);
    for (int64_t n = 0; n < static_cast<int64_t>(pairs.size()); ++n) {
      const int64_t set = n / (length * length), query = n / length % length, key = n % length;
      const int64_t row = blocks.data<int32_t>()[query], column = blocks.data<int32_t>()[key];
      ASSERT_EQ(pairs[static_cast<size_t>(n)], mask.data<uint8_t>()[(set * rows + row) * columns + column] != 0)
          << "set " << set << ", query " << query << ", key " << key;
    }
  }
}

TEST_P(StaGolden, OutputsAreThoseOfTheOriginal) {
  for (const json& run : Runs()) {
    SCOPED_TRACE(run["run"].get<std::string>());
    StaCall call(F32Problem(run["problem"].get<std::string>()), 0);
    Run(run, call);
    const auto out = Floats(file_.Get(run["run"].get<std::string>() + ".out"));
    EXPECT_LE(Compare(call, {out.begin(), out.end()}).most, 2e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Files, StaGolden,
                         testing::Values("sta_tile384", "sta_strategy", "sta_text", "sta_image", "sta_one_tile"),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace tessera
