#include "text/explain.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "text/unicode.h"

namespace tessera {

std::string ExplainTokens(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<int32_t> ids = tokenizer.Encode(text);
  std::string lines = fmt::format("{} tokens\n", ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    lines += fmt::format("{:>5} {:>7} {}\n", i, ids[i], Printable(tokenizer.PieceOf(ids[i]), 400));
  }
  return lines;
}

std::string ExplainTokensAsJson(const Tokenizer& tokenizer, std::string_view text) {
  nlohmann::ordered_json tokens = nlohmann::ordered_json::array();
  for (const int32_t id : tokenizer.Encode(text)) tokens.push_back({{"id", id}, {"piece", tokenizer.PieceOf(id)}});
  nlohmann::ordered_json result;
  result["text"] = ReplaceInvalidUtf8(text);
  result["count"] = tokens.size();
  result["tokens"] = std::move(tokens);
  return result.dump() + "\n";
}

}  // namespace tessera
