#include "cli/edited_model.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/read_file.h"
#include "media/picture.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
constexpr size_t kMostBytes = size_t{1} << 26;

// Files are linked, so they must be replaced and never written to.
void Rewrite(const fs::path& path, const std::string& bytes) {
  fs::remove_all(path);
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

std::pair<std::string, std::string> SplitAt(const std::string& text, const std::string& separator) {
  const size_t found = text.find(separator);
  EXPECT_NE(found, std::string::npos) << text;
  return {text.substr(0, found), text.substr(found + separator.size())};
}

void Replace(const fs::path& path, const std::string& change) {
  const auto [from, to] = SplitAt(change, "=>");
  EXPECT_EQ(from.size(), to.size()) << change;
  std::string bytes = ReadWholeFile(path, kMostBytes);
  const size_t found = bytes.find(from);
  ASSERT_NE(found, std::string::npos) << path << " has no " << from;
  Rewrite(path, bytes.replace(found, from.size(), to));
}

void SetJson(const fs::path& path, const std::string& change) {
  const auto [pointer, value] = SplitAt(change, "=");
  auto json = nlohmann::json::parse(ReadWholeFile(path, kMostBytes));
  json[nlohmann::json::json_pointer(pointer)] = nlohmann::json::parse(value);
  Rewrite(path, json.dump());
}

void UnsetJson(const fs::path& path, const std::string& pointer) {
  auto json = nlohmann::json::parse(ReadWholeFile(path, kMostBytes));
  ASSERT_EQ(json.erase(pointer.substr(1)), 1u) << path << pointer;
  Rewrite(path, json.dump());
}

void DrawPicture(const fs::path& path, const std::string& text) {
  const Picture black{64, 64, std::vector<uint8_t>(64 * 64 * 3)};
  const std::vector<uint8_t> bytes = EncodePicture(black, {.text = {{"tessera", text}}});
  Rewrite(path, {bytes.begin(), bytes.end()});
}

void Apply(const fs::path& path, const Edit& edit) {
  switch (edit.what) {
    case What::kWrite:
      return Rewrite(path, edit.value);
    case What::kRemove:
      ASSERT_GT(fs::remove_all(path), 0u) << path;
      return;
    case What::kFolder:
      fs::remove_all(path);
      fs::create_directories(path);
      return;
    case What::kPipe:
      fs::remove_all(path);
      ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
      return;
    case What::kLink:
      fs::remove_all(path);
      fs::create_symlink(edit.value, path);
      return;
    case What::kCut:
      return Rewrite(path, ReadWholeFile(path, kMostBytes).substr(0, std::stoul(edit.value)));
    case What::kReplace:
      return Replace(path, edit.value);
    case What::kJson:
      return SetJson(path, edit.value);
    case What::kUnsetJson:
      return UnsetJson(path, edit.value);
    case What::kForbid:
      Rewrite(path, ReadWholeFile(path, kMostBytes));
      ASSERT_EQ(chmod(path.c_str(), 0), 0);
      return;
    case What::kReadOnly:
      fs::create_directories(path);
      ASSERT_EQ(chmod(path.c_str(), 0555), 0);
      return;
    case What::kPicture:
      return DrawPicture(path, edit.value);
    case What::kSparse:
      Rewrite(path, "");
      fs::resize_file(path, std::stoull(edit.value));
      return;
  }
}

// Hard links where both folders are on one file system, copies elsewhere.
void LinkTree(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  for (const auto& entry : fs::recursive_directory_iterator(from)) {
    const fs::path target = to / fs::relative(entry.path(), from);
    std::error_code code;
    if (entry.is_directory()) {
      fs::create_directories(target);
      continue;
    }
    fs::create_hard_link(entry.path(), target, code);
    if (code) fs::copy_file(entry.path(), target);
  }
}

// The demo model on the file system of the temporary folder, copied once.
const fs::path& ModelNearby() {
  struct Copy {
    Copy() {
      std::string pattern = (fs::temp_directory_path() / "tessera_model_XXXXXX").string();
      EXPECT_NE(mkdtemp(pattern.data()), nullptr);
      path = pattern;
      LinkTree(TESSERA_SOURCE_FOLDER "/models/demo", path);
    }
    ~Copy() { fs::remove_all(path); }
    fs::path path;
  };
  static const Copy copy;
  return copy.path;
}

}  // namespace

EditedModel::EditedModel(const std::vector<Edit>& edits) {
  std::string pattern = (fs::temp_directory_path() / "tessera_hostile_XXXXXX").string();
  EXPECT_NE(mkdtemp(pattern.data()), nullptr);
  folder_ = pattern;
  LinkTree(ModelNearby(), folder_ / "model");
  for (const Edit& edit : edits) Apply(folder_ / edit.path, edit);
}

EditedModel::~EditedModel() { fs::remove_all(folder_); }

std::set<std::string> EditedModel::Listing() const {
  std::set<std::string> listing;
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
    const std::string size = entry.is_regular_file() && !entry.is_symlink() ? std::to_string(entry.file_size()) : "-";
    listing.insert(fs::relative(entry.path(), folder_).string() + ' ' + size);
  }
  return listing;
}

}  // namespace tessera
