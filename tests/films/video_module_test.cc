#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "media/video_films.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

TEST(VideoModule, LiesBesideTheProgramOrWhereItIsInstalled) {
  const std::vector<fs::path> paths = VideoModulePaths("/opt/bin/tessera");
  ASSERT_GE(paths.size(), 2u);
  EXPECT_EQ(paths[0], "/opt/bin/tessera_video.so");
  EXPECT_EQ(paths[1], "/opt/lib/tessera/tessera_video.so");
}

TEST(VideoModule, MissingTellsWhereItWasLookedFor) {
  const TemporaryFolder folder;
  const std::string message = ErrorOf([&] {
    LoadVideoFilms({folder.path() / "a/tessera_video.so", folder.path() / "b/tessera_video.so"});
  });
  EXPECT_THAT(message, AllOf(HasSubstr(folder.path() / "a"), HasSubstr(folder.path() / "b"), HasSubstr("webp, gif")));
}

TEST(VideoModule, WhatIsNoLibraryIsRefusedInOneLine) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "tessera_video.so";
  std::ofstream(path) << "no library";
  const std::string message = ErrorOf([&] { LoadVideoFilms({path}); });
  EXPECT_THAT(message, AllOf(HasSubstr("cannot be loaded"), HasSubstr("webp, gif")));
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace tessera
