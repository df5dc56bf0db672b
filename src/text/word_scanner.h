// The word pattern of Qwen and Llama 3, scanned by hand in linear time.
#pragma once
#include <memory>
#include <optional>
#include <string_view>

#include "text/pattern.h"

namespace tessera {

// How many digits one piece may have when `expression` is the pattern of Qwen (1) or of Llama 3 (3); nothing otherwise.
std::optional<int> DigitsOfWordPattern(std::string_view expression);

// The same matches as
// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}|
// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
std::unique_ptr<Pattern> MakeWordPattern(int digits);

}  // namespace tessera
