// Qwen3 as a text encoder: its weights, configuration and tokenizer.
#pragma once
#include <cstdint>

#include "cli/random_model/model_contents.h"

namespace tessera {

struct Qwen3Size {
  int64_t width, layers, heads, kv_heads, head_dim, mlp, vocabulary;
  int64_t first_added_token;  // id of <|endoftext|>; the others follow as in Qwen's list
  bool tied_embedding;        // no lm_head.weight
};

// text_encoder/ (Qwen3ForCausalLM) and tokenizer/. The tokenizer knows Qwen's special tokens at their real ids and one
// token per byte: it takes any prompt, in more tokens than a trained one.
void AddQwen3(const Qwen3Size& size, DType dtype, ModelContents* contents);

}  // namespace tessera
