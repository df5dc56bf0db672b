#include "pipeline/checkpoint_file.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/read_file.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

Tensor Values(std::initializer_list<float> values) {
  Tensor tensor = Tensor::Empty({static_cast<int64_t>(values.size())}, DType::kF32);
  std::copy(values.begin(), values.end(), tensor.mutable_data<float>());
  return tensor;
}

SavedRun Sample() {
  SavedRun saved;
  saved.job = {{"seed", "7"}, {"prompt", "Gr\xc3\xbc\xc3\x9f"}};
  saved.files = {"a_0.png", "a_1.png"};
  saved.picture = 1;
  saved.step = 3;
  saved.state.Add("picture.latents", Values({1, 2, 3}));
  saved.state.AddNumber("valid", 12);
  return saved;
}

TEST(CheckpointFile, GivesBackWhatWasSaved) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "run";
  WriteCheckpoint(path, Sample());
  const SavedRun saved = ReadCheckpoint(path);
  EXPECT_EQ(saved.job, Sample().job);
  EXPECT_EQ(saved.files, Sample().files);
  EXPECT_EQ(saved.picture, 1);
  EXPECT_EQ(saved.step, 3);
  EXPECT_EQ(saved.state.Get("picture.latents", {3}, DType::kF32).data<float>()[2], 3);
  EXPECT_EQ(saved.state.Number("valid", 0, 100), 12);
}

TEST(CheckpointFile, StaysMappedWhileTheNextOneReplacesIt) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "run";
  WriteCheckpoint(path, Sample());
  const SavedRun first = ReadCheckpoint(path);
  SavedRun next = Sample();
  next.state = {};
  next.state.Add("picture.latents", Values({9}));
  WriteCheckpoint(path, next);
  EXPECT_EQ(first.state.Get("picture.latents").data<float>()[1], 2);
  EXPECT_EQ(ReadCheckpoint(path).state.Get("picture.latents").data<float>()[0], 9);
}

std::string ReadError(const std::function<void(const fs::path&)>& write) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "run";
  write(path);
  return ErrorOf([&] { ReadCheckpoint(path); });
}

std::map<std::string, std::string> Metadata(const std::string& key, const std::string& value) {
  std::map<std::string, std::string> texts = {
      {"tessera_checkpoint", "1"}, {"job", "[]"}, {"files", "[]"}, {"picture", "0"}, {"step", "0"}};
  texts[key] = value;
  return texts;
}

TEST(CheckpointFile, RefusesWhatIsNone) {
  EXPECT_THAT(ReadError([](const fs::path&) {}), HasSubstr("run"));
  EXPECT_THAT(ReadError([](const fs::path& path) { fs::create_directory(path); }), HasSubstr("run"));
  EXPECT_THAT(ReadError([](const fs::path& path) { std::ofstream(path) << "a text"; }), HasSubstr("not a safetensors"));
  EXPECT_THAT(ReadError([](const fs::path& path) {
                WriteSafetensors(path, {}, {{"format", "pt"}});
              }),
              HasSubstr("is no checkpoint: its metadata has no 'tessera_checkpoint'"));
}

TEST(CheckpointFile, RefusesEveryCut) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "run";
  WriteCheckpoint(path, Sample());
  const std::string bytes = ReadWholeFile(path, 1 << 20);
  for (size_t length = 0; length < bytes.size(); length += 7) {
    std::ofstream(path, std::ios::binary) << bytes.substr(0, length);
    EXPECT_NE(ErrorOf([&] { ReadCheckpoint(path); }), "no error") << length;
  }
}

TEST(CheckpointFile, RefusesMetadataThatLies) {
  const std::tuple<const char*, const char*, const char*> lies[] = {
      {"tessera_checkpoint", "2", "is a checkpoint of format '2'; this version reads format 1"},
      {"picture", "-1", "its 'picture' is '-1', no count"},
      {"step", "three", "its 'step' is 'three', no count"},
      {"step", "99999999999999999999", "no count"},
      {"job", "{}", "its 'job' is an object, not a list"},
      {"job", "[[\"seed\"]]", "not a pair"},
      {"job", "[[\"seed\", 7]]", "its 'job' has 7 in place of a text"},
      {"job", "[[[[[[]]]]]]", "its 'job'"},
      {"job", "nonsense", "its 'job'"},
      {"files", "[3]", "its 'files' has 3"},
      {"files", "[\"\"]", "no file name"},
      {"files", "[\"..\"]", "no file name"},
      {"files", "[\"/etc/passwd\"]", "no file name"},
      {"files", "[\"a/b.png\"]", "no file name"},
      {"files", "[\".hidden\"]", "no file name"},
  };
  for (const auto& [key, value, expected] : lies) {
    const auto write = [&](const fs::path& path) { WriteSafetensors(path, {}, Metadata(key, value)); };
    EXPECT_THAT(ReadError(write), HasSubstr(expected)) << key << value;
  }
}

TEST(CheckpointFile, RefusesValuesThatNoRunSaves) {
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    const auto write = [&](const fs::path& path) {
      WriteSafetensors(path, {{"x", Values({1, bad})}}, Metadata("step", "0"));
    };
    EXPECT_THAT(ReadError(write), HasSubstr("tensor 'x' of f32 has values that no run saves"));
  }
  const auto write = [&](const fs::path& path) {
    WriteSafetensors(path, {{"x", Tensor::Zeros({2}, DType::kU8)}}, Metadata("step", "0"));
  };
  EXPECT_THAT(ReadError(write), HasSubstr("tensor 'x' of u8"));
}

}  // namespace
}  // namespace tessera
