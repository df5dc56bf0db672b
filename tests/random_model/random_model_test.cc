#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/random_model/random_values.h"
#include "cli/random_model/write_model.h"
#include "parallel/parallel_for.h"
#include "random_model/model_shapes.h"
#include "text/tokenizer.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::BytesOf;
using testing::ComponentOf;
using testing::ContentsOf;
using ::testing::ElementsAre;
using testing::SafetensorsHeader;
using testing::ShapesOf;

fs::path NewFolder(const std::string& name) {
  fs::path folder = fs::path(::testing::TempDir()) / name;
  fs::remove_all(folder);
  return folder;
}

std::map<std::string, std::string> AllFiles(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files[fs::relative(entry.path(), folder)] = BytesOf(entry.path());
  }
  return files;
}

ModelContents TinyModel() { return ContentsOf("flux2-klein-tiny"); }

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

TEST(WriteRandomModel, WritesWanWithTheSameBytesForTheSameSeed) {
  const ModelContents model = ContentsOf("wan-a14b-tiny");
  const fs::path a = NewFolder("random_wan_a"), b = NewFolder("random_wan_b"), c = NewFolder("random_wan_c");
  WriteRandomModel(model, {.seed = 3}, a);
  WriteRandomModel(model, {.seed = 3}, b);
  WriteRandomModel(model, {.seed = 4}, c);
  EXPECT_EQ(AllFiles(a), AllFiles(b));
  const std::string weights = "diffusion_pytorch_model.safetensors";
  EXPECT_NE(BytesOf(a / "transformer" / weights), BytesOf(c / "transformer" / weights));
  EXPECT_NE(BytesOf(a / "transformer" / weights), BytesOf(a / "transformer_2" / weights)) << "experts are two networks";
  EXPECT_EQ(SafetensorsHeader(a / "transformer" / weights)["proj_out.weight"]["dtype"], "BF16");
  EXPECT_EQ(SafetensorsHeader(a / "vae" / weights)["encoder.norm_out.gamma"]["dtype"], "F32");
}

TEST(WriteRandomModel, WritesATokenizerOfUmt5ThatTakesAnyPrompt) {
  const fs::path folder = NewFolder("random_wan_tokenizer");
  WriteRandomModel(ContentsOf("wan-tiny"), {}, folder);
  const auto tokenizer = LoadTokenizer(folder / "tokenizer");
  EXPECT_EQ(PaddingId(folder / "tokenizer", *tokenizer), 0);
  const auto id = [&](const char* piece) { return tokenizer->IdOf(piece).value(); };
  EXPECT_THAT(tokenizer->Encode("a  \xe7\x8c\xab~ "),
              ElementsAre(id("\u2581"), id("a"), id("\u2581"), id("<0xE7>"), id("<0x8C>"), id("<0xAB>"), id("~"), 1));
  EXPECT_LE(tokenizer->vocabulary_size(), 384);
}

TEST(WriteRandomModel, CutsLargeComponentsIntoShards) {
  const ModelContents model = TinyModel();
  const fs::path folder = NewFolder("random_model_shards");
  WriteRandomModel(model, {.shard_bytes = 100000}, folder);
  const Json index = Json::parse(BytesOf(folder / "text_encoder/model.safetensors.index.json"));
  const auto expected = ShapesOf(ComponentOf(model, "text_encoder"));
  ASSERT_EQ(index["weight_map"].size(), expected.size());
  size_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder / "text_encoder")) {
    if (entry.path().extension() != ".safetensors") continue;
    const Json header = SafetensorsHeader(entry.path());
    for (const auto& [name, tensor] : header.items()) {
      EXPECT_EQ(index["weight_map"][name], entry.path().filename().string());
      EXPECT_EQ(tensor["shape"].get<std::vector<int64_t>>(), expected.at(name)) << name;
      bytes += tensor["data_offsets"][1].get<size_t>() - tensor["data_offsets"][0].get<size_t>();
    }
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
