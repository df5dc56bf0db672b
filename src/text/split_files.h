// Tokenizers in the older form: vocab.json, merges.txt and the class that says how they are used.
#pragma once
#include <filesystem>

#include <nlohmann/json.hpp>

namespace tessera {

// The tokenizer.json that the files of `folder` amount to: vocab.json, merges.txt, the tokens of added_tokens.json and
// of tokenizer_config.json's added_tokens_decoder, and the rules of its tokenizer_class (Qwen2Tokenizer, CLIPTokenizer,
// GPT2Tokenizer). Throws Error{kIo, kFormat}, Error{kUnsupported} naming another class.
nlohmann::json JoinSplitFiles(const std::filesystem::path& folder);

}  // namespace tessera
