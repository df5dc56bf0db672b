// Patterns of tokenizer.json: where they occur in a text.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

struct Match {
  size_t begin = 0, end = 0;  // bytes
};

// Thread safe. Texts are valid UTF-8.
class Pattern {
 public:
  virtual ~Pattern() = default;
  // Matches from left to right without overlaps; empty ones too. Throws Error{kUnsupported} when a regular expression
  // takes too long.
  virtual std::vector<Match> Find(std::string_view text) const = 0;
};

std::unique_ptr<Pattern> MakeLiteralPattern(std::string literal);

// The expressions of Qwen and Llama 3 are scanned by hand, others are compiled by PCRE2 with the classes that the
// `tokenizers` library's engine gives to \s and \w. `place` is for messages. Throws Error{kFormat}.
std::unique_ptr<Pattern> MakeRegexPattern(const std::string& expression, const std::string& place);

}  // namespace tessera
