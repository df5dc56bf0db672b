#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "pipeline/demo_model.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

fs::path TemporaryFolder(const char* name) {
  const fs::path folder = fs::path(::testing::TempDir()) / name;
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

void PutModel(const fs::path& folder) {
  fs::create_directories(folder);
  std::ofstream(folder / "model_index.json") << "{}";
}

TEST(DemoModelPath, FindsTheSourceFolderOfThisBuild) {
  EXPECT_TRUE(fs::equivalent(DemoModelPath(), TESSERA_SOURCE_FOLDER "/models/demo"));
  EXPECT_TRUE(fs::equivalent(DemoModelPathFor("/nowhere/bin/tessera"), TESSERA_SOURCE_FOLDER "/models/demo"));
}

TEST(DemoModelPath, PrefersTheModelInstalledWithTheBinary) {
  const fs::path prefix = TemporaryFolder("demo_model_prefix");
  PutModel(prefix / "share/tessera/models/demo");
  EXPECT_EQ(DemoModelPathFor(prefix / "bin/tessera"), prefix / "share/tessera/models/demo");
}

TEST(DemoModelPath, FindsAMovedSourceFolderFromItsBuildFolder) {
  const fs::path source = TemporaryFolder("demo_model_source");
  PutModel(source / "models/demo");
  EXPECT_EQ(DemoModelPathFor(source / "build/release/tessera"), source / "models/demo");
}

TEST(DemoModelPath, HoldsAWholeCheckpoint) {
  for (const char* file :
       {"transformer/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors", "tokenizer/tokenizer.json", "scheduler/scheduler_config.json"}) {
    EXPECT_TRUE(fs::exists(DemoModelPath() / file)) << file;
  }
}

}  // namespace
}  // namespace tessera
