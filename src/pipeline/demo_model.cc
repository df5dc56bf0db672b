#include "pipeline/demo_model.h"

#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> Candidates(const fs::path& executable) {
  std::vector<fs::path> candidates;
  const fs::path folder = executable.parent_path();
  candidates.push_back(folder.parent_path() / "share/tessera/models/demo");
  candidates.push_back(folder.parent_path().parent_path() / "models/demo");
  candidates.emplace_back(TESSERA_SOURCE_MODELS "/demo");
  return candidates;
}

}  // namespace

fs::path DemoModelPathFor(const fs::path& executable) {
  std::vector<std::string> tried;
  for (const fs::path& folder : Candidates(executable)) {
    std::error_code ignored;
    if (fs::exists(folder / "model_index.json", ignored)) return folder;
    tried.push_back(folder.string());
  }
  throw Error(ErrorKind::kIo, "the built-in demo model was asked for but is in none of " + Join(tried, ", ") +
                                  "; name a checkpoint folder with --model-path");
}

fs::path DemoModelPath() {
  std::error_code error;
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  return DemoModelPathFor(error ? fs::path() : executable);
}

}  // namespace tessera
