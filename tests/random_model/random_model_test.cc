#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/random_model/design.h"
#include "cli/random_model/random_values.h"
#include "cli/random_model/write_model.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Shapes = std::map<std::string, std::vector<int64_t>>;

ModelContents ContentsOf(const std::string& name, const LayerCounts& asked = {}, DType dtype = DType::kBF16) {
  const RandomDesign design = FindRandomDesign(name);
  return design.contents(ChooseLayers(design, asked), dtype);
}

const ModelComponent& ComponentOf(const ModelContents& contents, const std::string& folder) {
  for (const ModelComponent& component : contents.components) {
    if (component.folder == folder) return component;
  }
  throw std::logic_error("no such folder");
}

Shapes ShapesOf(const std::vector<TensorSpec>& tensors) {
  Shapes shapes;
  for (const TensorSpec& spec : tensors) {
    const auto sizes = spec.shape.sizes();
    shapes[spec.name] = {sizes.begin(), sizes.end()};
  }
  return shapes;
}

Shapes PublishedShapes(const std::string& component) {
  const Json all = Json::parse(std::ifstream(TESSERA_SOURCE_FOLDER "/tests/golden/klein_4b_tensors.json"));
  Shapes shapes;
  for (const Json& row : all[component]) shapes[row[0]] = row[1].get<std::vector<int64_t>>();
  return shapes;
}

int64_t Elements(const ModelContents& contents, const std::string& folder) {
  return CountElements(ComponentOf(contents, folder).tensors);
}

fs::path NewFolder(const std::string& name) {
  const fs::path folder = fs::path(::testing::TempDir()) / name;
  fs::remove_all(folder);
  return folder;
}

std::string Bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::map<std::string, std::string> AllFiles(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files[fs::relative(entry.path(), folder)] = Bytes(entry.path());
  }
  return files;
}

ModelContents TinyModel() { return ContentsOf("flux2-klein-tiny"); }

TEST(TensorList, HasTheNamesAndShapesOfFlux2Klein4B) {
  const ModelContents contents = ContentsOf("flux2-klein-4b");
  EXPECT_EQ(ShapesOf(ComponentOf(contents, "transformer").tensors), PublishedShapes("klein_4b"));
  EXPECT_EQ(ShapesOf(ComponentOf(contents, "vae").tensors), PublishedShapes("vae_flux2"));
}

TEST(TensorList, HasThePublishedNumberOfParameters) {
  const ModelContents small = ContentsOf("flux2-klein-4b", {{"text-layers", 36}});
  const ModelContents large = ContentsOf("flux2-klein-9b", {{"text-layers", 36}});
  EXPECT_EQ(Elements(small, "transformer"), 3875544576);
  EXPECT_EQ(Elements(large, "transformer"), 9078581248);
  EXPECT_EQ(Elements(small, "text_encoder"), 4022468096);  // Qwen3-4B
  EXPECT_EQ(Elements(large, "text_encoder"), 8190735360);  // Qwen3-8B
}

TEST(RandomValues, KeepTheSizeOfActivations) {
  const TensorSpec weight = {"a.weight", {300, 1000}};
  std::vector<float> values(300000);
  RandomValues(1).Fill(weight, DType::kF32, 0, 300000, reinterpret_cast<std::byte*>(values.data()));
  double sum = 0, squares = 0;
  for (float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  EXPECT_NEAR(sum / 300000, 0.0, 3e-4);
  EXPECT_NEAR(squares / 300000, 1e-3, 1e-5);
}

TEST(RandomValues, RowsOfAMatrixDiffer) {
  const TensorSpec weight = {"a.weight", {4096, 4096}};
  std::vector<float> first(4096), row(4096);
  const RandomValues values(1);
  values.Fill(weight, DType::kF32, 0, 4096, reinterpret_cast<std::byte*>(first.data()));
  for (int64_t i : {1, 1023, 1024, 2048, 4095}) {
    values.Fill(weight, DType::kF32, i * 4096, 4096, reinterpret_cast<std::byte*>(row.data()));
    EXPECT_NE(first, row) << i;
  }
}

TEST(RandomValues, DoNotDependOnThePartsOrTheThreads) {
  const TensorSpec weight = {"a.weight", {100, 70000}};
  std::vector<BFloat16> whole(7000000), parts(7000000);
  SetThreads(2);
  RandomValues(9).Fill(weight, DType::kBF16, 0, 7000000, reinterpret_cast<std::byte*>(whole.data()));
  SetThreads(1);
  const RandomValues again(9);
  for (int64_t first = 0; first < 7000000; first += 1000000) {
    again.Fill(weight, DType::kBF16, first, 1000000, reinterpret_cast<std::byte*>(parts.data() + first));
  }
  SetThreads(0);
  EXPECT_EQ(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(BFloat16)), 0);
}

TEST(WriteRandomModel, WritesTheSameBytesForTheSameSeed) {
  WriteRandomModel(TinyModel(), {.seed = 3}, NewFolder("random_model_a"));
  WriteRandomModel(TinyModel(), {.seed = 3}, NewFolder("random_model_b"));
  const auto a = AllFiles(fs::path(::testing::TempDir()) / "random_model_a");
  const auto b = AllFiles(fs::path(::testing::TempDir()) / "random_model_b");
  EXPECT_EQ(a, b);
  EXPECT_TRUE(a.contains("transformer/diffusion_pytorch_model.safetensors"));
  EXPECT_TRUE(a.contains("model_index.json"));
  const fs::path folder = NewFolder("random_model_c");
  WriteRandomModel(TinyModel(), {.seed = 4}, folder);
  EXPECT_NE(AllFiles(folder).at("vae/diffusion_pytorch_model.safetensors"),
            a.at("vae/diffusion_pytorch_model.safetensors"));
}

TEST(WriteRandomModel, CutsLargeComponentsIntoShards) {
  const ModelContents model = TinyModel();
  const fs::path folder = NewFolder("random_model_shards");
  WriteRandomModel(model, {.shard_bytes = 100000}, folder);
  const Json index = Json::parse(Bytes(folder / "text_encoder/model.safetensors.index.json"));
  const auto expected = ShapesOf(ComponentOf(model, "text_encoder").tensors);
  ASSERT_EQ(index["weight_map"].size(), expected.size());
  size_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder / "text_encoder")) {
    if (entry.path().extension() != ".safetensors") continue;
    const std::string file = Bytes(entry.path());
    uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof length);
    const Json header = Json::parse(file.substr(8, length));
    for (const auto& [name, tensor] : header.items()) {
      if (name == "__metadata__") continue;
      EXPECT_EQ(index["weight_map"][name], entry.path().filename().string());
      EXPECT_EQ(tensor["shape"].get<std::vector<int64_t>>(), expected.at(name)) << name;
    }
    bytes += file.size() - 8 - length;
  }
  EXPECT_EQ(index["metadata"]["total_size"], bytes);
  EXPECT_FALSE(fs::exists(folder / "text_encoder/model.safetensors"));
}

TEST(WriteRandomModel, RefusesAFolderThatIsNotEmpty) {
  const fs::path folder = NewFolder("random_model_full");
  fs::create_directories(folder / "something");
  EXPECT_THROW(WriteRandomModel(TinyModel(), {}, folder), Error);
  EXPECT_FALSE(fs::exists(folder / "model_index.json"));
}

}  // namespace
}  // namespace tessera
