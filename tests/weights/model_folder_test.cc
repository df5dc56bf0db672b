#include "weights/model_folder.h"

#include <cstdlib>
#include <map>

#include <gmock/gmock.h>

#include "support/temporary_folder.h"
#include "weights/hub_cache.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kIndex =
    R"({"_class_name":"Flux2KleinPipeline","is_distilled":true,"transformer":["diffusers","Flux2Transformer2DModel"],"image_encoder":[null,null]})";

void WriteTensors(const fs::path& path, const std::vector<std::string>& keys) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const std::string& key : keys) tensors.emplace_back(key, Tensor::Zeros({4}, DType::kF32));
  WriteSafetensors(path, tensors, {});
}

class ModelFolderTest : public testing::Test {
 protected:
  ModelFolderTest() { folder_.Write("m/model_index.json", kIndex); }
  std::string Path(const std::string& name = "m") const { return (folder_.path() / name).string(); }
  fs::path Transformer(const std::string& name) const { return folder_.path() / "m/transformer" / name; }
  std::string WeightsError() const {
    return ErrorOf([&] { ModelFolder::Open(Path()).Weights("transformer"); });
  }
  std::string OpenError(const std::string& name, const std::string& revision = "main") const {
    return ErrorOf([&] { ModelFolder::Open(name, revision); });
  }
  void WriteShards(const std::string& weight_map) {
    folder_.Write("m/transformer/diffusion_pytorch_model.safetensors.index.json",
                  "{\"weight_map\":" + weight_map + "}");
    WriteTensors(Transformer("one.safetensors"), {"a", "b"});
    WriteTensors(Transformer("two.safetensors"), {"c"});
  }
  TemporaryFolder folder_;
};

TEST_F(ModelFolderTest, ReadsTheIndex) {
  const ModelFolder model = ModelFolder::Open(Path());
  EXPECT_EQ(model.pipeline_class(), "Flux2KleinPipeline");
  EXPECT_EQ(model.name(), Path());
  EXPECT_EQ(model.component("transformer")->library, "diffusers");
  EXPECT_EQ(model.component("transformer")->class_name, "Flux2Transformer2DModel");
  EXPECT_EQ(model.component("image_encoder")->class_name, "");
  EXPECT_FALSE(model.component("vae").has_value());
  EXPECT_FALSE(model.component("is_distilled").has_value());
}

TEST_F(ModelFolderTest, ComponentsThatAreNoPairsAreRefused) {
  folder_.Write("m/model_index.json", R"({"vae":["diffusers"],"unet":["diffusers",3]})");
  const ModelFolder model = ModelFolder::Open(Path());
  EXPECT_THAT(ErrorOf([&] { model.component("vae"); }),
              HasSubstr("'vae' must be [library, class], found an array of 1"));
  EXPECT_THAT(ErrorOf([&] { model.component("unet"); }), HasSubstr("'unet' must be [library, class], found 3"));
}

TEST_F(ModelFolderTest, ReadsComponentConfigs) {
  folder_.Write("m/transformer/config.json", R"({"num_layers":5})");
  folder_.Write("m/scheduler/scheduler_config.json", R"({"shift":3.0})");
  fs::create_directories(folder_.path() / "m/vae");
  const ModelFolder model = ModelFolder::Open(Path());
  EXPECT_EQ(model.ComponentConfig("transformer").Int("num_layers", 0), 5);
  EXPECT_EQ(model.ComponentConfig("scheduler").Float("shift", 0), 3.0);
  EXPECT_THAT(ErrorOf([&] { model.ComponentConfig("vae"); }), HasSubstr("vae/config.json: no such file"));
  EXPECT_THAT(ErrorOf([&] { model.ComponentConfig("text_encoder"); }), HasSubstr("it has no folder 'text_encoder'"));
}

TEST_F(ModelFolderTest, ReadsASingleFileOfEitherName) {
  WriteTensors(Transformer("diffusion_pytorch_model.safetensors"), {"a", "b"});
  WriteTensors(folder_.path() / "m/text_encoder/model.safetensors", {"e"});
  const ModelFolder model = ModelFolder::Open(Path());
  EXPECT_THAT(model.Weights("transformer").Keys(), ElementsAre("a", "b"));
  EXPECT_THAT(model.Weights("text_encoder").Keys(), ElementsAre("e"));
  EXPECT_EQ(model.WeightBytes("transformer"), 32u);
}

TEST_F(ModelFolderTest, ReadsShards) {
  WriteShards(R"({"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"})");
  const ModelFolder model = ModelFolder::Open(Path());
  EXPECT_THAT(model.Weights("transformer").Keys(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(model.WeightBytes("transformer"), 48u);
}

TEST_F(ModelFolderTest, ShardsThatDisagreeWithTheIndexAreRefused) {
  const std::map<std::string, std::string> reasons = {
      {R"({"a":"one.safetensors","b":"one.safetensors","c":"three.safetensors"})", "three.safetensors' is missing"},
      {R"({"a":"one.safetensors","c":"two.safetensors"})",
       "tensor 'b' is in 'one.safetensors', but the index does not list it"},
      {R"({"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"})",
       "tensor 'b' is in 'one.safetensors', but the index says 'two.safetensors'"},
      {R"({"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors","d":"two.safetensors"})",
       "tensor 'd' is not in 'two.safetensors'"},
      {R"({"a":"../one.safetensors"})", "'../one.safetensors', which is not a .safetensors file beside the index"},
      {R"({"a":"/etc/passwd"})", "'/etc/passwd', which is not"},
      {R"({"a":"sub/one.safetensors"})", "'sub/one.safetensors', which is not"},
      {R"({"a":".."})", "'..', which is not"},
      {R"({"a":""})", "'', which is not"},
      {R"({"a":"one.bin"})", "'one.bin', which is not"},
      {R"({"a":1})", "'a' must be a file name, found 1"},
      {R"([])", "'weight_map' must be an object"},
      {R"(null)", "'weight_map' is missing"}};
  for (const auto& [weight_map, reason] : reasons) {
    WriteShards(weight_map);
    EXPECT_THAT(WeightsError(), HasSubstr(reason)) << weight_map;
  }
}

TEST_F(ModelFolderTest, TakesAVariantOnlyWhenItIsTheOnlyOne) {
  WriteTensors(Transformer("diffusion_pytorch_model.fp16.safetensors"), {"half"});
  EXPECT_THAT(ModelFolder::Open(Path()).Weights("transformer").Keys(), ElementsAre("half"));
  WriteTensors(Transformer("diffusion_pytorch_model.bf16.safetensors"), {"brain"});
  EXPECT_THAT(WeightsError(), HasSubstr("several variants of the weights in"));
  EXPECT_THAT(WeightsError(),
              HasSubstr("diffusion_pytorch_model.bf16.safetensors, diffusion_pytorch_model.fp16.safetensors"));
  WriteTensors(Transformer("diffusion_pytorch_model.safetensors"), {"full"});
  EXPECT_THAT(ModelFolder::Open(Path()).Weights("transformer").Keys(), ElementsAre("full"));
}

TEST_F(ModelFolderTest, TakesAShardedVariant) {
  folder_.Write(
      "m/transformer/model.safetensors.index.fp16.json",
      R"({"weight_map":{"a":"model.fp16-00001-of-00002.safetensors","b":"model.fp16-00002-of-00002.safetensors"}})");
  WriteTensors(Transformer("model.fp16-00001-of-00002.safetensors"), {"a"});
  WriteTensors(Transformer("model.fp16-00002-of-00002.safetensors"), {"b"});
  EXPECT_THAT(ModelFolder::Open(Path()).Weights("transformer").Keys(), ElementsAre("a", "b"));
}

TEST_F(ModelFolderTest, AComponentWithoutReadableWeightsSaysWhatIsThere) {
  EXPECT_THAT(WeightsError(), HasSubstr("transformer'"));
  fs::create_directories(folder_.path() / "m/transformer");
  EXPECT_THAT(WeightsError(), HasSubstr("neither diffusion_pytorch_model.safetensors nor model.safetensors"));
  folder_.Write("m/transformer/diffusion_pytorch_model.bin", "x");
  EXPECT_THAT(WeightsError(), HasSubstr("weights in another format only"));
  WriteTensors(Transformer("diffusion_pytorch_model-00001-of-00002.safetensors"), {"a"});
  EXPECT_THAT(WeightsError(), HasSubstr("no .safetensors.index.json that lists them"));
}

TEST_F(ModelFolderTest, WhatIsNoModelFolderIsRefused) {
  EXPECT_THAT(OpenError(Path("none")), HasSubstr("none': no such folder; a model is a folder with model_index.json"));
  EXPECT_THAT(OpenError(""), HasSubstr("name is empty"));
  EXPECT_THAT(OpenError("klein"), HasSubstr("cannot open the model 'klein': no such folder"));
  EXPECT_THAT(OpenError(Path("m/model_index.json")), HasSubstr("model_index.json' is a file; a model is a folder"));
  EXPECT_THAT(OpenError(Path("\xff\n")), HasSubstr("\\xff\\x0a': no such folder"));
  EXPECT_THAT(OpenError(Path(std::string(5000, 'x'))), HasSubstr("file name too long"));
  folder_.Write("other/readme.txt", "x");
  EXPECT_THAT(OpenError(Path("other")), HasSubstr("has no model_index.json: it is not a model in diffusers' layout"));
  folder_.Write("m/model_index.json", "[]");
  EXPECT_THAT(OpenError(Path()), HasSubstr("expected a JSON object, found an array of 0"));
}

TEST_F(ModelFolderTest, ASingleComponentIsRefusedWithTheFolderOfTheModel) {
  folder_.Write("m/transformer/config.json", "{}");
  EXPECT_THAT(OpenError(Path("m/transformer")),
              HasSubstr("it is a single component; give the folder of the whole model, '" + Path() + "/'"));
}

TEST_F(ModelFolderTest, AFolderWhoseNameIsNotUtf8IsRead) {
  folder_.Write("m\xff/model_index.json", kIndex);
  EXPECT_EQ(ModelFolder::Open(Path("m\xff")).pipeline_class(), "Flux2KleinPipeline");
}

// A cache as huggingface_hub lays it out: refs, snapshots of links, blobs.
class HubCacheTest : public ModelFolderTest {
 protected:
  void SetUp() override {
    for (const char* name : kVariables) {
      if (const char* value = std::getenv(name)) saved_.emplace(name, value);
      ::unsetenv(name);
    }
    ::setenv("HF_HUB_CACHE", Path("cache").c_str(), 1);
    folder_.Write(kRepository + "/blobs/1234", kIndex);
    folder_.Write(kRepository + "/refs/main", kCommit + "\n");
    folder_.Write(kRepository + "/refs/refs/pr/1", kCommit);
    fs::create_directories(Snapshot() / "transformer");
    fs::create_symlink("../../blobs/1234", Snapshot() / "model_index.json");
  }
  void TearDown() override {
    for (const char* name : kVariables) ::unsetenv(name);
    for (const auto& [name, value] : saved_) ::setenv(name.c_str(), value.c_str(), 1);
  }
  fs::path Snapshot() const { return folder_.path() / kRepository / "snapshots" / kCommit; }

  static constexpr const char* kVariables[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME",
                                               "HOME"};
  const std::string kRepository = "cache/models--org--name.v1";
  const std::string kCommit = "0123456789abcdef0123456789abcdef01234567";
  std::map<std::string, std::string> saved_;
};

TEST_F(HubCacheTest, FindsBranchesTagsAndCommits) {
  for (const std::string& revision : {std::string("main"), std::string("refs/pr/1"), kCommit}) {
    EXPECT_EQ(ModelFolder::Open("org/name.v1", revision).path(), Snapshot()) << revision;
  }
  EXPECT_EQ(ModelFolder::Open(Path(kRepository)).path(), Snapshot());
}

TEST_F(HubCacheTest, LooksWhereHuggingfaceHubLooks) {
  const fs::path root = folder_.path();
  EXPECT_EQ(HubCacheFolder(), root / "cache");
  ::unsetenv("HF_HUB_CACHE");
  ::setenv("HOME", "/home/x", 1);
  EXPECT_EQ(HubCacheFolder(), "/home/x/.cache/huggingface/hub");
  ::setenv("XDG_CACHE_HOME", "/xdg", 1);
  EXPECT_EQ(HubCacheFolder(), "/xdg/huggingface/hub");
  ::setenv("HF_HOME", "~/hf", 1);
  EXPECT_EQ(HubCacheFolder(), "/home/x/hf/hub");
  ::setenv("HUGGINGFACE_HUB_CACHE", "/old", 1);
  EXPECT_EQ(HubCacheFolder(), "/old");
}

TEST_F(HubCacheTest, AModelThatIsNotThereNamesTheDownload) {
  EXPECT_THAT(OpenError("org/other"), HasSubstr("`hf download org/other` downloads it"));
  EXPECT_THAT(OpenError("org/name.v1", "v2"),
              HasSubstr("revision 'v2' of 'org/name.v1' is neither a folder nor in the Hugging Face cache"));
  EXPECT_THAT(OpenError("org/name.v1", "v2"), HasSubstr("`hf download org/name.v1 --revision v2`"));
}

TEST_F(HubCacheTest, RevisionsCannotLeaveTheCache) {
  folder_.Write("cache/models--org--name.v1/outside", "../../../m");
  for (const char* revision : {"../outside", "..", "", "/etc/passwd", "../../../../m"}) {
    EXPECT_THAT(OpenError("org/name.v1", revision), HasSubstr("hf download")) << revision;
  }
  folder_.Write(kRepository + "/refs/evil", "../../../m");
  EXPECT_THAT(OpenError("org/name.v1", "evil"), HasSubstr("hf download"));
}

TEST_F(HubCacheTest, AnIncompleteSnapshotSaysSo) {
  fs::create_symlink("../../../blobs/none", Snapshot() / "transformer/config.json");
  EXPECT_THAT(OpenError("org/name.v1"), HasSubstr("the model is incomplete: '"));
  EXPECT_THAT(OpenError("org/name.v1"),
              HasSubstr("config.json' is a link to a file that is not there; `hf download org/name.v1`"));
  fs::remove(Snapshot() / "model_index.json");
  EXPECT_THAT(OpenError("org/name.v1"),
              HasSubstr("has no model_index.json: the download is incomplete (`hf download org/name.v1`"));
}

}  // namespace
}  // namespace tessera
