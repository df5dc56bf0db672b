#include "resume/small_job.h"

#include <filesystem>

#include "base/error.h"
#include "base/read_file.h"
#include "cli/generate_flags.h"
#include "pipeline/pipeline.h"

namespace tessera::testing {
namespace {

namespace fs = std::filesystem;

GenerateRequest RequestOf(const SmallJob& job, const TemporaryFolder& folder, const Words& more) {
  Words words = {"--model-path", ModelFolderOf(job), "--output-path",
                 folder.path(),  "--save-latents",   folder / "latents.safetensors"};
  const auto given = [&](const std::string& flag) { return std::find(more.begin(), more.end(), flag) != more.end(); };
  for (size_t i = 0; i < job.words.size();) {
    size_t end = i + 1;
    while (end < job.words.size() && !job.words[end].starts_with("--")) ++end;
    const auto word = job.words.begin();
    if (!given(job.words[i])) words.insert(words.end(), word + static_cast<int>(i), word + static_cast<int>(end));
    i = end;
  }
  words.insert(words.end(), more.begin(), more.end());
  return MakeRequest(ParseFlags(GenerateFlags(), words));
}

}  // namespace

std::string ModelFolderOf(const SmallJob& job) {
  const std::string model = job.model;
  return model.starts_with("/") ? model : TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/" + model;
}

Ran RunJob(const SmallJob& job, const TemporaryFolder& folder, const Words& more, std::optional<int> stop_after) {
  Ran ran;
  try {
    const auto run = PrepareRun(RequestOf(job, folder, more));
    run->watch_step = [&](int) {
      if (++ran.steps == stop_after) throw Error(ErrorKind::kInterrupted, "stopped");
    };
    Generate(*run);
  } catch (const Error& error) {
    ran.error = error.what();
  }
  return ran;
}

std::map<std::string, std::string> FilesIn(const TemporaryFolder& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
    const std::string name = fs::relative(entry.path(), folder.path()).string();
    if (entry.is_regular_file() && name != kCheckpointName) files[name] = ReadWholeFile(entry.path(), size_t{1} << 28);
  }
  return files;
}

Words Saving(const TemporaryFolder& folder) { return {"--checkpoint", folder / kCheckpointName}; }

Words SavingAndResuming(const TemporaryFolder& folder) {
  return {"--checkpoint", folder / kCheckpointName, "--resume", folder / kCheckpointName};
}

}  // namespace tessera::testing
