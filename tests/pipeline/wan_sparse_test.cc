// Sparse attention inside whole films of the tiny Wan folders, through the program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>

#include <nlohmann/json.hpp>

#include "support/command.h"
#include "weights/safetensors.h"

namespace tessera::testing {
namespace {

using Words = std::vector<std::string>;

struct Film {
  const char* name;
  const char* folder;
  Words words;
  int steps, layers, passes;
  friend void PrintTo(const Film& film, std::ostream* stream) { *stream << film.name; }
};

const std::string kGolden = TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/";

const Film kText{"text",
                 "wan21_t2v_tiny",
                 {"--height", "32", "--width", "48", "--num-frames", "9", "--num-inference-steps", "4",
                  "--guidance-scale", "5", "--negative-prompt", "blurry"},
                 4,
                 2,
                 2};
const Film kExperts{"two_experts",
                    "wan22_t2v_tiny",
                    {"--height", "32", "--width", "48", "--num-frames", "13", "--num-inference-steps", "4",
                     "--guidance-scale", "4", "--guidance-scale-2", "3"},
                    4,
                    2,
                    2};
const Film kPicture{"picture",
                    "wan22_ti2v_tiny",
                    {"--height", "64", "--width", "96", "--num-frames", "9", "--num-inference-steps", "4",
                     "--guidance-scale", "1", "--image-path", kGolden + "wan22_ti2v_tiny/image_ref0.png"},
                    4,
                    2,
                    1};

// One backend: settings at which it is dense, sparse, sparse after two dense steps, sparse after one dense layer ("":
// there is no such setting).
struct Sparse {
  const char* backend;
  std::string dense, sparse, steps, layers;
  double precision;  // of the latents, relative to the largest
  friend void PrintTo(const Sparse& row, std::ostream* stream) { *stream << row.backend; }
};

std::string With(const std::string& config, const std::string& more) {
  return config.substr(0, config.size() - 1) + "," + more + "}";
}

std::vector<Sparse> Rows(const std::string& planner, const std::vector<std::pair<const char*, double>>& names) {
  const std::string sta = R"({"tile_size": [1, 1, 1], "window": [1, 1, 3]})";
  const std::string vsa = R"({"tile_size": [1, 1, 2], "sparsity": 0.6})";
  const std::string moba =
      R"({"moba_threshold": 0.25, "temporal_chunk_size": 1, "spatial_chunk_size": [1, 1], "st_chunk_size": [1, 1, 1]})";
  const std::string svg =
      R"({"top_p_kmeans": 0.4, "min_kc_ratio": 0, "num_q_centroids": 4, "num_k_centroids": 6, "kmeans_iter_init": 1})";
  std::vector<Sparse> rows;
  for (const auto& [name, precision] : names) {
    if (planner == "sta") {
      rows.push_back({name, R"({"tile_size": [1, 1, 1], "window": [99, 99, 99]})", sta,
                      With(sta, R"("skip_time_steps": 2)"), "", precision});
    } else if (planner == "vsa") {
      rows.push_back({name, R"({"tile_size": [1, 1, 2], "sparsity": 0})", vsa, "", "", precision});
    } else if (planner == "vmoba") {
      rows.push_back({name, R"({"moba_threshold": 2, "first_full_step": 0, "temporal_chunk_size": 1})",
                      With(moba, R"("first_full_step": 0)"), With(moba, R"("first_full_step": 2)"),
                      With(moba, R"("first_full_step": 0, "first_full_layer": 1)"), precision});
    } else {
      rows.push_back({name, R"({"top_p_kmeans": 1, "min_kc_ratio": 1, "first_times_fp": 0, "first_layers_fp": 0})",
                      With(svg, R"("first_times_fp": 0, "first_layers_fp": 0)"),
                      With(svg, R"("first_times_fp": 0.5, "first_layers_fp": 0)"),
                      With(svg, R"("first_times_fp": 0, "first_layers_fp": 0.5)"), precision});
    }
  }
  return rows;
}

// f32 kernels sum in another order at most; int8 and fp4 round the factors.
constexpr double kExact = 2e-5, kInt8 = 0.02, kFp4 = 0.15;

std::vector<Sparse> AllRows() {
  std::vector<Sparse> rows;
  const auto add = [&](const std::string& planner, const std::vector<std::pair<const char*, double>>& names) {
    for (Sparse& row : Rows(planner, names)) rows.push_back(std::move(row));
  };
  add("sta", {{"sliding_tile_attn", kExact}, {"sliding_tile_attn+sage_attn", kInt8}});
  add("vsa", {{"video_sparse_attn", kExact}, {"video_sparse_attn+sage_attn_3", kFp4}});
  add("vmoba", {{"vmoba_attn", kExact}, {"vmoba_attn+sage_attn", kInt8}});
  add("svg", {{"sparse_video_gen_2_attn", kExact}, {"sparse_video_gen_2_attn+sage_attn_3", kFp4}});
  return rows;
}

struct Made {
  std::vector<Tensor> latents;  // [steps, ...] of every film
  nlohmann::json attention;     // the row of self attention
};

Tensor Copied(const Tensor& tensor) { return tensor.To(DType::kF32).Clone(); }

Made Make(const Film& film, const Words& more, size_t films = 1) {
  const TemporaryFolder folder;
  Words line = {
      TESSERA_BINARY,     "generate",          "--model-path", kGolden + film.folder, "--output-path",
      folder.path(),      "--frames-as",       "png",          "--save-latents",      folder / "latents.safetensors",
      "--perf-dump-path", folder / "perf.json"};
  for (size_t i = 0; i < film.words.size(); i += 2) {
    if (std::find(more.begin(), more.end(), film.words[i]) != more.end()) continue;
    line.insert(line.end(), {film.words[i], film.words[i + 1]});
  }
  line.insert(line.end(), more.begin(), more.end());
  if (std::find(more.begin(), more.end(), "--prompt") == more.end()) line.insert(line.end(), {"--prompt", "a red fox"});
  const CommandResult result = RunCommand(line);
  Made made;
  EXPECT_EQ(result.exit_code, 0) << result.err;
  if (result.exit_code != 0) return made;
  const SafetensorsFile file(folder / "latents.safetensors");
  for (size_t i = 0; i < films; ++i) made.latents.push_back(Copied(file.Get(std::to_string(i) + ".latents_per_step")));
  std::ifstream perf(folder / "perf.json");
  const nlohmann::json report = nlohmann::json::parse(perf);
  for (const nlohmann::json& row : report["attention"]) {
    if (!row["component"].get<std::string>().starts_with("transformer") || row["role"] != "self") continue;
    if (made.attention.is_null()) {
      made.attention = row;
      continue;
    }
    const double calls = made.attention["calls"], further = row["calls"];  // the second expert
    EXPECT_EQ(made.attention["backend"], row["backend"]);
    made.attention["density"] =
        (made.attention["density"].get<double>() * calls + row["density"].get<double>() * further) / (calls + further);
    made.attention["calls"] = calls + further;
  }
  return made;
}

Made Make(const Film& film, const std::string& backend, const std::string& config, Words more = {}, size_t films = 1) {
  more.insert(more.end(), {"--attention-backend", backend});
  if (!config.empty()) more.insert(more.end(), {"--attention-backend-config", config});
  return Make(film, more, films);
}

Tensor Step(const Tensor& latents, int step) { return latents.Narrow(0, step, 1); }

double Apart(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.numel(), b.numel());
  double gap = 0, largest = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    gap = std::max(gap, std::abs(double{a.data<float>()[i]} - b.data<float>()[i]));
    largest = std::max(largest, std::abs(double{b.data<float>()[i]}));
  }
  return gap / largest;
}

bool SameBytes(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

class WanSparse : public ::testing::TestWithParam<std::tuple<Film, Sparse>> {
 protected:
  const Film& film() const { return std::get<0>(GetParam()); }
  const Sparse& row() const { return std::get<1>(GetParam()); }
  Made Run(const std::string& config) const {
    Made made = Make(film(), row().backend, config);
    if (made.attention.is_null()) return made;
    EXPECT_EQ(made.attention["backend"], row().backend);
    EXPECT_EQ(made.attention["calls"], film().steps * film().layers * film().passes);
    return made;
  }
  const Tensor& Exact() const {
    static std::map<std::string, Made> known;
    Made& made = known[film().name];
    if (made.latents.empty()) made = Make(film(), "fa", "");
    return made.latents.at(0);
  }
};

TEST_P(WanSparse, DenseSettingsGiveTheFilmOfFa) {
  const Made made = Run(row().dense);
  ASSERT_FALSE(made.latents.empty());
  EXPECT_EQ(made.attention["density"], 1.0);
  EXPECT_LE(Apart(made.latents[0], Exact()), row().precision);
}

TEST_P(WanSparse, SparseSettingsSkipPairs) {
  const Made made = Run(row().sparse);
  ASSERT_FALSE(made.latents.empty());
  EXPECT_LT(made.attention["density"], 0.8);
  EXPECT_GT(made.attention["density"], 0.0);
  EXPECT_GT(Apart(made.latents[0], Exact()), 1e-3);
}

class WanSparseSteps : public WanSparse {};

TEST_P(WanSparseSteps, TheFirstStepsAreDenseWhereAsked) {
  const Made made = Run(row().steps);
  ASSERT_FALSE(made.latents.empty());
  EXPECT_LE(Apart(Step(made.latents[0], 0), Step(Exact(), 0)), row().precision);
  EXPECT_LE(Apart(Step(made.latents[0], 1), Step(Exact(), 1)), row().precision);
  EXPECT_GT(Apart(Step(made.latents[0], 2), Step(Exact(), 2)), 1e-3);
  EXPECT_GT(made.attention["density"], 0.5);
  EXPECT_LT(made.attention["density"], 0.9);
}

class WanSparseLayers : public WanSparse {};

TEST_P(WanSparseLayers, TheFirstLayersAreDenseWhereAsked) {
  const Made made = Run(row().layers);
  ASSERT_FALSE(made.latents.empty());
  EXPECT_GT(made.attention["density"], 0.5);
  EXPECT_LT(made.attention["density"], 0.9);
  EXPECT_GT(Apart(made.latents[0], Exact()), 1e-3);
}

std::vector<Sparse> RowsWith(std::string Sparse::*setting) {
  std::vector<Sparse> rows;
  for (const Sparse& row : AllRows()) {
    if (!(row.*setting).empty()) rows.push_back(row);
  }
  return rows;
}

std::string Spelled(std::string name) {
  std::replace(name.begin(), name.end(), '+', '_');
  return name;
}

constexpr auto kNameOf = [](const auto& suite) {
  return Spelled(std::string(std::get<0>(suite.param).name) + "_" + std::get<1>(suite.param).backend);
};
const auto kFilms = ::testing::Values(kText, kExperts, kPicture);

INSTANTIATE_TEST_SUITE_P(Films, WanSparse, ::testing::Combine(kFilms, ::testing::ValuesIn(AllRows())), kNameOf);
INSTANTIATE_TEST_SUITE_P(Films, WanSparseSteps,
                         ::testing::Combine(kFilms, ::testing::ValuesIn(RowsWith(&Sparse::steps))), kNameOf);
INSTANTIATE_TEST_SUITE_P(Films, WanSparseLayers,
                         ::testing::Combine(kFilms, ::testing::ValuesIn(RowsWith(&Sparse::layers))), kNameOf);

class WanSparseRequests : public ::testing::TestWithParam<Sparse> {
 protected:
  Made Run(const Words& words, size_t films = 1) const {
    return Make(kText, GetParam().backend, GetParam().sparse, words, films);
  }
};

TEST_P(WanSparseRequests, FilmsOfOneRunLearnNothingFromEachOther) {
  const Made both =
      Run({"--prompt", "a red fox", "a ship at sunset", "--num-outputs-per-prompt", "2", "--seed", "7"}, 4);
  ASSERT_EQ(both.latents.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const char* prompt = i < 2 ? "a red fox" : "a ship at sunset";
    const Made one = Run({"--prompt", prompt, "--seed", std::to_string(7 + i % 2)});
    ASSERT_EQ(one.latents.size(), 1u);
    EXPECT_TRUE(SameBytes(both.latents[i], one.latents[0])) << "film " << i;
  }
}

// With the prompt in both passes guidance changes nothing, as long as neither learns from the other.
TEST_P(WanSparseRequests, ThePassesLearnNothingFromEachOther) {
  const Made guided = Run({"--negative-prompt", "a red fox"});
  const Made single = Run({"--guidance-scale", "1"});
  ASSERT_FALSE(guided.latents.empty());
  ASSERT_FALSE(single.latents.empty());
  EXPECT_EQ(guided.attention["calls"], single.attention["calls"].get<int>() * 2);
  EXPECT_TRUE(SameBytes(guided.latents[0], single.latents[0]));
}

INSTANTIATE_TEST_SUITE_P(Backends, WanSparseRequests, ::testing::ValuesIn(AllRows()),
                         [](const auto& suite) { return Spelled(suite.param.backend); });

}  // namespace
}  // namespace tessera::testing
