// Performance dumps (generate --perf-dump-path, SGLang's as well) as far as comparing needs them.
#pragma once
#include <string>
#include <vector>

namespace tessera {

struct PerfStage {
  std::string name;
  double milliseconds = 0;
  int count = 0;  // entries of the dump that were added up
};

struct PerfDump {
  std::string label;  // the file's name without folders
  std::string commit = "N/A";
  double total_milliseconds = 0;
  // In order of first appearance, same names added up; "denoising_step_N" are one stage, kDenoisingLoop.
  std::vector<PerfStage> stages;
};

inline constexpr const char* kDenoisingLoop = "Denoising Loop";

// Throws Error{kIo, kFormat}: not JSON, no total_duration_ms, a duration that is no number or negative.
PerfDump ReadPerfDump(const std::string& path);

}  // namespace tessera
