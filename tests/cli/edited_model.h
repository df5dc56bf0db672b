// Copies of the built-in demo model with something wrong in them.
#pragma once
#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace tessera {

enum class What {
  kWrite,      // the file holds `value`
  kRemove,     // the file or folder is missing
  kFolder,     // a folder in its place
  kPipe,       // a named pipe in its place
  kLink,       // a symbolic link to `value`
  kCut,        // the first `value` bytes
  kReplace,    // "from=>to": the first occurrence; `to` has the same length
  kJson,       // "/json/pointer=value"
  kUnsetJson,  // "/key": removed from the object
  kForbid,     // no permission at all
  kReadOnly,   // a new folder without permission to write
  kSparse,     // a file of `value` zero bytes that takes no space
  kPicture,    // a PNG with `value` under the key `tessera`
};

// One change below the test's folder, where the model is called "model".
struct Edit {
  What what;
  const char* path;
  std::string value{};
};

// A folder with the demo model and the edits; gone at the end.
class EditedModel {
 public:
  explicit EditedModel(const std::vector<Edit>& edits);
  ~EditedModel();
  EditedModel(const EditedModel&) = delete;
  EditedModel& operator=(const EditedModel&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  std::set<std::string> Listing() const;  // everything below the folder, with sizes

 private:
  std::filesystem::path folder_;
};

}  // namespace tessera
