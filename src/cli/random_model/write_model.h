// Writes a FLUX.2 klein folder with random weights: the layout, names, shapes and bytes of a real checkpoint.
#pragma once
#include <cstdint>
#include <filesystem>

#include "cli/random_model/klein_size.h"
#include "tensor/dtype.h"

namespace tessera {

struct RandomModel {
  KleinSize size;
  DType dtype = DType::kBF16;
  uint64_t seed = 0;
  // Weights are cut into files of at most this many bytes (a larger tensor has a file of its own).
  size_t shard_bytes = size_t{5} << 30;
};

// Bytes of all weights.
size_t WeightBytes(const RandomModel& model);

// `folder` must not exist or be empty. Throws Error{kUsage, kIo}, the latter also when the disk is too small.
void WriteRandomModel(const RandomModel& model, const std::filesystem::path& folder);

}  // namespace tessera
