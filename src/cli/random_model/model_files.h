// The small files of a FLUX.2 klein folder: configurations, scheduler and tokenizer.
#pragma once
#include <string>
#include <vector>

#include "cli/random_model/klein_size.h"
#include "tensor/dtype.h"

namespace tessera {

struct ModelFile {
  std::string path;  // relative to the model's folder
  std::string text;
};

// Everything but the weights and model_index.json. The tokenizer knows Qwen's special tokens at their real ids and one
// token per byte: it takes any prompt, in more tokens than a trained one.
std::vector<ModelFile> ConfigurationFiles(const KleinSize& size, DType dtype);

// model_index.json, which makes the folder a model: written last.
ModelFile IndexFile(const KleinSize& size);

}  // namespace tessera
