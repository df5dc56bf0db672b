// The tokenizer that a tokenizer.json describes: added tokens, normalizer, pre-tokenizer, model, post-processor.
#pragma once
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "text/tokenizer.h"

namespace tessera {

// `file` is for messages. Truncation, padding and decoder are not read: the caller truncates and pads.
std::unique_ptr<Tokenizer> MakeJsonTokenizer(const nlohmann::json& root, const std::string& file);

}  // namespace tessera
