#include "base/atomic_folder.h"

#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/unfinished_paths.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

bool IsTextFile(std::string_view name) { return name.ends_with(".txt"); }

std::vector<std::string> Names(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  return names;
}

TEST(AtomicFolder, AppearsWithAllItsFiles) {
  const TemporaryFolder place;
  AtomicFolder folder(place.path() / "sub/new/", IsTextFile);
  folder.WriteFile("a.txt", Bytes("a"));
  folder.WriteFile("b.txt", Bytes("b"));
  EXPECT_FALSE(fs::exists(place.path() / "sub/new"));
  folder.Commit();
  EXPECT_THAT(Names(place.path() / "sub"), UnorderedElementsAre("new"));
  EXPECT_THAT(Names(place.path() / "sub/new"), UnorderedElementsAre("a.txt", "b.txt"));
}

TEST(AtomicFolder, ReplacesWhatItMayReplace) {
  const TemporaryFolder place;
  place.Write("new/old.txt", "old");
  AtomicFolder folder(place.path() / "new", IsTextFile);
  folder.WriteFile("a.txt", Bytes("a"));
  EXPECT_THAT(Names(place.path() / "new"), UnorderedElementsAre("old.txt"));
  folder.Commit();
  EXPECT_THAT(Names(place.path()), UnorderedElementsAre("new"));
  EXPECT_THAT(Names(place.path() / "new"), UnorderedElementsAre("a.txt"));
}

TEST(AtomicFolder, RefusesWhatWouldBeLost) {
  const TemporaryFolder place;
  place.Write("new/old.doc", "old");
  place.Write("deep/folder.txt/x", "old");
  place.Write("file", "old");
  EXPECT_THAT(ErrorOf([&] { AtomicFolder(place.path() / "new", IsTextFile); }), HasSubstr("holds 'old.doc'"));
  EXPECT_THAT(ErrorOf([&] { AtomicFolder(place.path() / "deep", IsTextFile); }), HasSubstr("holds 'folder.txt'"));
  EXPECT_THAT(ErrorOf([&] { AtomicFolder(place.path() / "file", IsTextFile); }), HasSubstr("a file has that name"));
  EXPECT_THAT(Names(place.path()), UnorderedElementsAre("new", "deep", "file"));
}

TEST(AtomicFolder, RefusesWhatCameMeanwhile) {
  const TemporaryFolder place;
  EXPECT_THAT(ErrorOf([&] {
                AtomicFolder folder(place.path() / "new", IsTextFile);
                folder.WriteFile("a.txt", Bytes("a"));
                place.Write("new/letter.doc", "dear");
                folder.Commit();
              }),
              HasSubstr("holds 'letter.doc'"));
  EXPECT_THAT(Names(place.path()), UnorderedElementsAre("new"));
  EXPECT_THAT(Names(place.path() / "new"), UnorderedElementsAre("letter.doc"));
}

TEST(AtomicFolder, LeavesNothingWithoutCommit) {
  const TemporaryFolder place;
  AtomicFolder(place.path() / "sub/new", IsTextFile).WriteFile("a.txt", Bytes("a"));
  EXPECT_THAT(Names(place.path()), testing::IsEmpty());
}

TEST(AtomicFolder, AnInterruptedProcessLeavesNothing) {
  const TemporaryFolder place;
  const pid_t child = ::fork();
  if (child == 0) {
    AtomicFolder folder(place.path() / "new", IsTextFile);
    for (int i = 0; i < 300; ++i) folder.WriteFile(std::to_string(i) + ".txt", Bytes("a"));
    RemoveUnfinishedFiles();
    ::_exit(7);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 7);
  EXPECT_THAT(Names(place.path()), testing::IsEmpty());
}

}  // namespace
}  // namespace tessera
