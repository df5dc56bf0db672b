// Small jobs of the golden model folders, run in this process and stopped between their steps.
#pragma once
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "support/command.h"

namespace tessera::testing {

using Words = std::vector<std::string>;

struct SmallJob {
  const char* name;
  const char* model;  // below tests/golden/pipelines
  Words words;
  int steps = 0;  // of all pictures together
  friend void PrintTo(const SmallJob& job, std::ostream* stream) { *stream << job.name; }
};

std::string ModelFolderOf(const SmallJob& job);

// A run of the job that writes into a folder; `more` are further flags. Thrown errors are returned.
struct Ran {
  std::string error;  // "" when it ended well
  int steps = 0;      // denoised by this run
};
Ran RunJob(const SmallJob& job, const TemporaryFolder& folder, const Words& more, std::optional<int> stop_after = {});

// Contents of every file below the folder but the checkpoint, by name.
std::map<std::string, std::string> FilesIn(const TemporaryFolder& folder);

inline constexpr const char* kCheckpointName = "run.checkpoint";
Words Saving(const TemporaryFolder& folder);
Words SavingAndResuming(const TemporaryFolder& folder);

}  // namespace tessera::testing
