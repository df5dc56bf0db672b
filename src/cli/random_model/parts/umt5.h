// umT5 as a text encoder: its weights, configuration and tokenizer.
#pragma once
#include <cstdint>

#include "cli/random_model/model_contents.h"

namespace tessera {

struct Umt5Size {
  int64_t width, layers, heads, head_dim, mlp, vocabulary;
};

// text_encoder/ (UMT5EncoderModel) and tokenizer/. The tokenizer knows printable ASCII and every byte: it takes any
// prompt, in more tokens than a trained one.
void AddUmt5(const Umt5Size& size, DType dtype, ModelContents* contents);

}  // namespace tessera
