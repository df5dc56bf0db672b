#include "base/atomic_file.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>

#include "base/error.h"
#include "base/unfinished_paths.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

std::string Content(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::vector<std::string> Names(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  return names;
}

std::string MessageOf(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    return error.what();
  }
  return "no error";
}

class AtomicFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "atomic_file_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST_F(AtomicFileTest, ReplacesTheOldContentAndLeavesNothingElse) {
  WriteFileAtomically(folder_ / "a.txt", Bytes("old and longer"));
  WriteFileAtomically(folder_ / "a.txt", Bytes("new"));
  EXPECT_EQ(Content(folder_ / "a.txt"), "new");
  EXPECT_THAT(Names(folder_), testing::ElementsAre("a.txt"));
}

TEST_F(AtomicFileTest, TheOldContentStaysUntilCommit) {
  WriteFileAtomically(folder_ / "a.txt", Bytes("old"));
  {
    AtomicFile file(folder_ / "a.txt");
    file.Write(Bytes("half"));
    EXPECT_EQ(Content(folder_ / "a.txt"), "old");
  }
  EXPECT_EQ(Content(folder_ / "a.txt"), "old");
  EXPECT_THAT(Names(folder_), testing::ElementsAre("a.txt"));
}

TEST_F(AtomicFileTest, ConcatenatesPieces) {
  AtomicFile file(folder_ / "a.txt");
  file.Write(Bytes("one "));
  file.Write(Bytes(""));
  file.Write(Bytes("two"));
  file.Commit();
  EXPECT_EQ(Content(folder_ / "a.txt"), "one two");
}

TEST_F(AtomicFileTest, TwoFilesOfOneFolderDoNotMeet) {
  AtomicFile first(folder_ / "a"), second(folder_ / "b");
  first.Write(Bytes("a"));
  second.Write(Bytes("b"));
  second.Commit();
  first.Commit();
  EXPECT_EQ(Content(folder_ / "a") + Content(folder_ / "b"), "ab");
}

TEST_F(AtomicFileTest, CreatesMissingFoldersAndKeepsThemOnlyOnSuccess) {
  { AtomicFile file(folder_ / "x/y/z.txt"); }
  EXPECT_FALSE(fs::exists(folder_ / "x"));
  WriteFileAtomically(folder_ / "x/y/z.txt", Bytes("z"));
  EXPECT_EQ(Content(folder_ / "x/y/z.txt"), "z");
}

TEST_F(AtomicFileTest, AcceptsTheLongestFileName) {
  const fs::path path = folder_ / std::string(255, 'n');
  WriteFileAtomically(path, Bytes("z"));
  EXPECT_EQ(Content(path), "z");
}

TEST_F(AtomicFileTest, RefusesFoldersAndSpecialFiles) {
  EXPECT_THAT(MessageOf([&] { WriteFileAtomically(folder_, Bytes("x")); }),
              testing::HasSubstr("a folder has that name"));
  EXPECT_THAT(MessageOf([&] { WriteFileAtomically("/dev/null", Bytes("x")); }),
              testing::HasSubstr("'/dev/null': a special file has that name"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(AtomicFileTest, NamesThePathWhenAParentIsAFile) {
  WriteFileAtomically(folder_ / "file", Bytes("x"));
  const std::string message = MessageOf([&] { WriteFileAtomically(folder_ / "file/inside/z", Bytes("x")); });
  EXPECT_THAT(message, testing::HasSubstr("file/inside/z': not a directory"));
}

TEST_F(AtomicFileTest, AFullDiskLeavesNothingBehind) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 1000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message =
      MessageOf([&] { WriteFileAtomically(folder_ / "sub/big", Bytes(std::string(5000, 'b'))); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, testing::HasSubstr("sub/big': file too large"));
  EXPECT_THAT(Names(folder_), testing::IsEmpty());
}

TEST_F(AtomicFileTest, AnInterruptedProcessLeavesNothingBehind) {
  const pid_t child = ::fork();
  if (child == 0) {
    AtomicFile file(folder_ / "a.txt");
    file.Write(Bytes("half"));
    RemoveUnfinishedFiles();
    ::_exit(7);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 7);
  EXPECT_THAT(Names(folder_), testing::IsEmpty());
}

}  // namespace
}  // namespace tessera
