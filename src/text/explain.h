// Texts that show how a prompt becomes tokens.
#pragma once
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace tessera {

// One line per token, "index id piece", after a line with their number. Pieces are escaped to stay on their line.
std::string ExplainTokens(const Tokenizer& tokenizer, std::string_view text);

// One object: {"text": "...", "count": 2, "tokens": [{"id": 5, "piece": "..."}, ...]}.
std::string ExplainTokensAsJson(const Tokenizer& tokenizer, std::string_view text);

}  // namespace tessera
