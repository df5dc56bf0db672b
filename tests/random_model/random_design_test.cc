// The models that can be written: names and shapes of their weights are the published ones.
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "random_model/model_shapes.h"

namespace tessera {
namespace {

using Json = nlohmann::json;
using testing::ComponentOf;
using testing::ContentsOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::SafetensorsHeader;
using testing::Shapes;

const std::string kGolden = TESSERA_SOURCE_FOLDER "/tests/golden/";

// Rows [name, shape]; a '#' in the name stands for every number below `blocks`.
Shapes PublishedShapes(const std::string& file, const std::string& model, int blocks = 0) {
  const Json all = Json::parse(std::ifstream(kGolden + file));
  Shapes shapes;
  for (const Json& row : all.at(model)) {
    const auto name = row[0].get<std::string>();
    const size_t mark = name.find('#');
    for (int block = 0; block < (mark == std::string::npos ? 1 : blocks); ++block) {
      const std::string full =
          mark == std::string::npos ? name : std::string(name).replace(mark, 1, std::to_string(block));
      shapes[full] = row[1].get<std::vector<int64_t>>();
    }
  }
  return shapes;
}

Shapes WanShapes(const std::string& model, int blocks = 0) {
  return PublishedShapes("wan_tensors.json", model, blocks);
}

Shapes ShapesOf(const ModelContents& contents, const std::string& folder) {
  return testing::ShapesOf(ComponentOf(contents, folder));
}

int64_t Elements(const ModelContents& contents, const std::string& folder) {
  return CountElements(ComponentOf(contents, folder).tensors);
}

std::vector<std::string> Folders(const ModelContents& contents) {
  std::vector<std::string> folders;
  for (const ModelComponent& component : contents.components) folders.push_back(component.folder);
  return folders;
}

Json FileOf(const ModelContents& contents, const std::string& path) {
  for (const ModelFile& file : contents.files) {
    if (file.path == path) return Json::parse(file.text);
  }
  return path == contents.index.path ? Json::parse(contents.index.text) : Json();
}

std::string Refusal(const std::string& name, const LayerCounts& asked) {
  try {
    static_cast<void>(ContentsOf(name, asked));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(RandomDesign, HasTheNamesAndShapesOfFlux2Klein4B) {
  const ModelContents contents = ContentsOf("flux2-klein-4b");
  EXPECT_EQ(ShapesOf(contents, "transformer"), PublishedShapes("klein_4b_tensors.json", "klein_4b"));
  EXPECT_EQ(ShapesOf(contents, "vae"), PublishedShapes("klein_4b_tensors.json", "vae_flux2"));
}

TEST(RandomDesign, HasTheNamesAndShapesOfWan) {
  const struct {
    const char *name, *transformer, *vae;
    int blocks;
  } models[] = {
      {"wan2.1-t2v-1.3b", "wan_t2v_1_3b", "vae_wan21", 30},        {"wan2.1-t2v-14b", "wan_t2v_14b", "vae_wan21", 40},
      {"wan2.1-i2v-14b-480p", "wan21_i2v_14b", "vae_wan21", 40},   {"wan2.2-t2v-a14b", "wan_t2v_14b", "vae_wan21", 40},
      {"wan2.2-i2v-a14b", "wan22_i2v_a14b_each", "vae_wan21", 40}, {"wan2.2-ti2v-5b", "wan22_ti2v_5b", "vae_wan22", 30},
      {"fastwan2.2-ti2v-5b", "wan22_ti2v_5b", "vae_wan22", 30}};
  for (const auto& model : models) {
    const ModelContents contents = ContentsOf(model.name);
    EXPECT_EQ(ShapesOf(contents, "transformer"), WanShapes(model.transformer, model.blocks)) << model.name;
    EXPECT_EQ(ShapesOf(contents, "vae"), WanShapes(model.vae)) << model.name;
  }
}

TEST(RandomDesign, FastWanAddsGatesToEveryBlock) {
  Shapes wanted = WanShapes("wan_t2v_1_3b", 30);
  for (int block = 0; block < 30; ++block) {
    wanted["blocks." + std::to_string(block) + ".to_gate_compress.weight"] = {1536, 1536};
    wanted["blocks." + std::to_string(block) + ".to_gate_compress.bias"] = {1536};
  }
  EXPECT_EQ(ShapesOf(ContentsOf("fastwan2.1-t2v-1.3b"), "transformer"), wanted);
}

TEST(RandomDesign, HasThePublishedNumberOfParameters) {
  const ModelContents small = ContentsOf("flux2-klein-4b", {{"text-layers", 36}});
  const ModelContents large = ContentsOf("flux2-klein-9b", {{"text-layers", 36}});
  EXPECT_EQ(Elements(small, "transformer"), 3875544576);
  EXPECT_EQ(Elements(large, "transformer"), 9078581248);
  EXPECT_EQ(Elements(small, "text_encoder"), 4022468096);  // Qwen3-4B
  EXPECT_EQ(Elements(large, "text_encoder"), 8190735360);  // Qwen3-8B
  const ModelContents wan = ContentsOf("wan2.1-i2v-14b-480p");
  EXPECT_EQ(Elements(wan, "transformer"), 16394878784);
  EXPECT_EQ(Elements(wan, "text_encoder"), 5680910336);            // umT5-xxl
  EXPECT_EQ(Elements(wan, "image_encoder"), 632076800 - 1310720);  // ViT-H without its projection
  EXPECT_EQ(Elements(ContentsOf("wan2.1-t2v-1.3b"), "transformer"), 1418996800);
}

// The transformers library wrote these files.
TEST(RandomDesign, NamesTheTensorsOfEncodersAsTheLibrariesDo) {
  const ModelContents contents = ContentsOf("wan-i2v-tiny");
  for (const char* folder : {"text_encoder", "image_encoder"}) {
    const Json golden = SafetensorsHeader(kGolden + "pipelines/wan21_i2v_tiny/" + folder + "/model.safetensors");
    const Shapes shapes = ShapesOf(contents, folder);
    EXPECT_EQ(shapes.size(), golden.size()) << folder;
    for (const auto& [name, shape] : shapes) {
      ASSERT_TRUE(golden.contains(name)) << name;
      EXPECT_EQ(shape.size(), golden[name]["shape"].size()) << name;
    }
  }
}

TEST(RandomDesign, TwoExpertsHaveFoldersOfTheirOwn) {
  const ModelContents contents = ContentsOf("wan2.2-t2v-a14b");
  EXPECT_THAT(Folders(contents), ElementsAre("transformer", "transformer_2", "text_encoder", "vae"));
  EXPECT_EQ(ShapesOf(contents, "transformer"), ShapesOf(contents, "transformer_2"));
  EXPECT_EQ(FileOf(contents, "model_index.json")["boundary_ratio"], 0.875);
  EXPECT_EQ(FileOf(contents, "transformer_2/config.json"), FileOf(contents, "transformer/config.json"));
}

TEST(RandomDesign, WeightsHaveTheTypeAskedForAndWansAutoencoderItsOwn) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const ModelComponent& component : ContentsOf("wan2.1-i2v-14b-480p", {}, dtype).components) {
      EXPECT_EQ(component.dtype, component.folder == "vae" ? DType::kF32 : dtype) << component.folder;
    }
    for (const ModelComponent& component : ContentsOf("flux2-klein-4b", {}, dtype).components) {
      EXPECT_EQ(component.dtype, dtype) << component.folder;
    }
  }
}

TEST(RandomDesign, TakesFewerLayers) {
  const ModelContents contents = ContentsOf("wan2.1-t2v-14b", {{"layers", 3}, {"text-layers", 2}});
  EXPECT_EQ(ShapesOf(contents, "transformer"), WanShapes("wan_t2v_14b", 3));
  EXPECT_EQ(FileOf(contents, "transformer/config.json")["num_layers"], 3);
  EXPECT_EQ(FileOf(contents, "text_encoder/config.json")["num_layers"], 2);
}

TEST(RandomDesign, RefusesLayersThatAModelDoesNotHave) {
  EXPECT_EQ(Refusal("wan2.1-t2v-1.3b", {{"layers", 31}}), "--layers 31: too many, wan2.1-t2v-1.3b has 30");
  EXPECT_EQ(Refusal("wan2.1-t2v-1.3b", {{"text-layers", 25}}), "--text-layers 25: too many, wan2.1-t2v-1.3b has 24");
  EXPECT_EQ(Refusal("wan-tiny", {{"layers", 0}}), "--layers 0: too few, wan-tiny needs 1");
  EXPECT_EQ(Refusal("wan-tiny", {{"double-blocks", 1}}),
            "--double-blocks 1: wan-tiny has no such layers; it has --layers, --text-layers");
  EXPECT_THAT(Refusal("wan-huge", {}), HasSubstr("--like wan-huge: unknown; known: flux2-klein-4b, "));
}

}  // namespace
}  // namespace tessera
