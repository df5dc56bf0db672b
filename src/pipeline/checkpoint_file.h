// A run between two steps as a file: safetensors whose metadata says which job it is and how far it got.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "pipeline/job_identity.h"
#include "tensor/tensor_state.h"
#include "weights/safetensors.h"

namespace tessera {

struct SavedRun {
  JobIdentity job;
  std::vector<std::string> files;  // of every picture, by their names in the output folder
  int64_t picture = 0;             // the one in work; those before it are written
  int64_t step = 0;                // steps done of it
  TensorState state;
};

// Whole or not at all: a former file stays until the new one is complete. Throws Error{kIo}.
void WriteCheckpoint(const std::filesystem::path& path, const SavedRun& saved);

// All but the tensors. Throws Error{kFormat}.
SavedRun ReadCheckpointHeader(const SafetensorsHeader& header);

// Throws Error{kIo, kFormat} in one line for what is no such file: damaged, of another program or version, with values
// that are not finite. Tensors lie in the mapped file.
SavedRun ReadCheckpoint(const std::filesystem::path& path);

}  // namespace tessera
