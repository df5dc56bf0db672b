#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "layout/layout_rules.h"

namespace tessera::layout {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const fs::path kRoot = TESSERA_SOURCE_FOLDER;
constexpr int kLongestFile = 600;

// A small source tree in a temporary folder, to show each rule something bad.
class SourceTree {
 public:
  SourceTree()
      : root_(fs::path(::testing::TempDir()) / ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  ~SourceTree() { fs::remove_all(root_); }
  SourceTree(const SourceTree&) = delete;
  SourceTree& operator=(const SourceTree&) = delete;

  void Write(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  const fs::path& root() const { return root_; }

 private:
  fs::path root_;
};

TEST(Layout, SourceIncludesPointDown) { EXPECT_THAT(UpwardIncludes(kRoot / "src"), IsEmpty()); }
TEST(Layout, PluginFoldersHoldNoHeaders) { EXPECT_THAT(HeadersInPluginFolders(kRoot / "src"), IsEmpty()); }
TEST(Layout, PluginsAreNamedInTheirOwnFileOnly) { EXPECT_THAT(PluginNamesElsewhere(kRoot / "src"), IsEmpty()); }
TEST(Layout, OneFileReadsTheEnvironment) { EXPECT_THAT(EnvironmentReaders(kRoot / "src"), IsEmpty()); }

TEST(Layout, FilesAreShort) {
  for (const char* folder : {"src", "include", "plugins", "tests", "benchmarks", "fuzz"}) {
    EXPECT_THAT(LongFiles(kRoot / folder, kLongestFile), IsEmpty()) << folder;
  }
}

TEST(Layout, NamesSayWhatThingsAre) {
  for (const char* folder : {"src", "include", "plugins", "tests", "benchmarks", "fuzz"}) {
    EXPECT_THAT(BannedNames(kRoot / folder), IsEmpty()) << folder;
  }
}

TEST(Layout, InstructionSetObjectsExportNoWeakSymbols) {
  std::vector<fs::path> objects;
  for (const auto& entry : fs::recursive_directory_iterator(TESSERA_OBJECT_FOLDER)) {
    if (IsInstructionSetObject(entry.path())) objects.push_back(entry.path());
  }
  ASSERT_THAT(objects, Not(IsEmpty()));
  EXPECT_THAT(WeakSymbols(objects, TESSERA_NM), IsEmpty());
}

TEST(LayoutRules, FindAnUpwardInclude) {
  SourceTree tree;
  tree.Write("tensor/shape.h", "#include <vector>\n#include \"base/check.h\"\n#include \"models/vae.h\"\n");
  EXPECT_THAT(UpwardIncludes(tree.root()), ElementsAre(HasSubstr("tensor/shape.h:3")));
}

TEST(LayoutRules, FindNeighboursThatIncludeEachOther) {
  SourceTree tree;
  tree.Write("layers/linear.cc", "#include \"attention/problem.h\"\n");
  tree.Write("attention/layer.cc", "#include \"layers/norm.h\"\n#include \"attention/layer.h\"\n");
  EXPECT_THAT(UpwardIncludes(tree.root()),
              ElementsAre(HasSubstr("attention/layer.cc:1"), HasSubstr("layers/linear.cc:1")));
}

TEST(LayoutRules, FindAnUnknownFolder) {
  SourceTree tree;
  tree.Write("base/text.cc", "#include \"stuff/text.h\"\n#include \"text.h\"\n");
  EXPECT_THAT(UpwardIncludes(tree.root()), ElementsAre(HasSubstr("in no folder"), HasSubstr("not a path from src/")));
}

TEST(LayoutRules, AcceptDownwardAndGeneratedIncludes) {
  SourceTree tree;
  tree.Write("models/flux.cc",
             "#include \"models/flux.h\"\n#include \"layers/norm.h\"\n#include \"model_family.inc\"\n");
  tree.Write("cli/main.cc", "#include \"pipeline/pipeline.h\"\n#include \"server/server.h\"\n");
  EXPECT_THAT(UpwardIncludes(tree.root()), IsEmpty());
}

TEST(LayoutRules, FindAHeaderAmongPlugins) {
  SourceTree tree;
  tree.Write("attention/backends/fast.h", "");
  tree.Write("attention/backends/fast.cc", "");
  EXPECT_THAT(HeadersInPluginFolders(tree.root()), ElementsAre(HasSubstr("fast.h")));
}

TEST(LayoutRules, FindAPluginNamedElsewhere) {
  SourceTree tree;
  tree.Write("attention/backends/CMakeLists.txt", "register(attention_backend fast)\n");
  tree.Write("attention/backends/fast.cc", "const char* name = \"fast\";\n");
  tree.Write("attention/selector.cc",
             "// \"fast\" may be said here\nbool b = name == \"fast\";\nauto c = \"faster\";\n");
  EXPECT_THAT(PluginNamesElsewhere(tree.root()), ElementsAre(HasSubstr("attention/selector.cc:2")));
}

TEST(LayoutRules, FindAReaderOfTheEnvironment) {
  SourceTree tree;
  tree.Write("base/environment.cc", "std::getenv(name);\n");
  tree.Write("kernels/tile.cc", "auto n = std::getenv(\"N\");\n// getenv(\n");
  EXPECT_THAT(EnvironmentReaders(tree.root()), ElementsAre(HasSubstr("kernels/tile.cc:1")));
}

TEST(LayoutRules, FindALongFile) {
  SourceTree tree;
  tree.Write("long.cc", std::string(600, '\n'));
  tree.Write("short.cc", std::string(599, '\n'));
  EXPECT_THAT(LongFiles(tree.root(), kLongestFile), ElementsAre(HasSubstr("long.cc")));
}

TEST(LayoutRules, FindBannedWordsInNames) {
  SourceTree tree;
  tree.Write("string_util.h", "");
  tree.Write("shape.h", "class ShapeManager {\nstruct DataSheet;\nenum class Database {\nstruct CpuInfo : Base {\n");
  EXPECT_THAT(BannedNames(tree.root()),
              ElementsAre(HasSubstr("ShapeManager"), HasSubstr("CpuInfo"), HasSubstr("string_util.h")));
}

TEST(LayoutRules, FindAWeakSymbol) {
  const std::vector<fs::path> objects = {TESSERA_LEAKING_OBJECT};
  ASSERT_TRUE(IsInstructionSetObject(objects.front()));
  EXPECT_THAT(WeakSymbols(objects, TESSERA_NM), ElementsAre(HasSubstr("Leak")));
}

TEST(LayoutRules, AMissingObjectIsAViolation) {
  const std::vector<fs::path> objects = {"nowhere_avx2.cc.o"};
  EXPECT_THAT(WeakSymbols(objects, TESSERA_NM), ElementsAre(HasSubstr("no symbols")));
}

}  // namespace
}  // namespace tessera::layout
