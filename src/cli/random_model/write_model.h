// Writes a model's folder with random weights: the layout, names, shapes and bytes of a real checkpoint.
#pragma once
#include <cstdint>
#include <filesystem>

#include "cli/random_model/model_contents.h"

namespace tessera {

struct RandomWeights {
  uint64_t seed = 0;
  // Weights are cut into files of at most this many bytes (a larger tensor has a file of its own).
  size_t shard_bytes = size_t{5} << 30;
};

// Of all weights.
size_t CountBytes(const ModelContents& contents);
int64_t CountElements(const ModelContents& contents);

// `folder` must not exist or be empty. Throws Error{kUsage, kIo}, the latter also when the disk is too small.
void WriteRandomModel(const ModelContents& contents, const RandomWeights& weights, const std::filesystem::path& folder);

}  // namespace tessera
