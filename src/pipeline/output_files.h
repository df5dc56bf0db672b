// Names of the files a run writes.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/run_state.h"

namespace tessera {

// ASCII letters, digits, '.', '_' and '-' only, at most 150 characters, never empty.
std::string SafeFileName(std::string_view text);

struct OutputFile {
  std::filesystem::path path;
  PictureFormat format = PictureFormat::kPng;
};

// Where each picture of the run goes and in which format. Throws Error{kUsage} for an extension that is no picture
// format or that contradicts --output-format.
std::vector<OutputFile> OutputFiles(const GenerateRequest& request);

// Checks, without making anything, that files can be made in this folder (or in a new folder of that name). Throws
// Error{kIo}.
void CheckOutputFolder(const std::filesystem::path& folder);

}  // namespace tessera
