#include "text/vocabulary.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace tessera {

int32_t TokenId(const nlohmann::json& id, std::string_view token, const std::string& file) {
  // An unsigned value beyond int64_t reads as a negative one.
  if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= kMostTokens) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: the id of token '{}' must be an integer from 0 to {}, found {}",
                                                file, Printable(token), kMostTokens - 1, DescribeJson(id)));
  }
  return id.get<int32_t>();
}

Vocabulary::Vocabulary(const nlohmann::json& vocab, const std::string& file) {
  if (!vocab.is_object()) {
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: the vocabulary must be an object, found {}", file, DescribeJson(vocab)));
  }
  int32_t limit = 0;
  for (const auto& entry : vocab.items()) limit = std::max(limit, TokenId(entry.value(), entry.key(), file) + 1);
  tokens_.resize(static_cast<size_t>(limit));
  ids_.reserve(vocab.size());
  for (const auto& entry : vocab.items()) {
    const int32_t id = TokenId(entry.value(), entry.key(), file);
    std::optional<std::string>& token = tokens_[static_cast<size_t>(id)];
    if (token) {
      throw Error(ErrorKind::kFormat, fmt::format("{}: the tokens '{}' and '{}' have the same id {}", file,
                                                  Printable(*token), Printable(entry.key()), id));
    }
    token = entry.key();
    ids_.emplace(*token, id);
  }
}

std::optional<int32_t> Vocabulary::IdOf(std::string_view token) const {
  const auto place = ids_.find(token);
  return place == ids_.end() ? std::nullopt : std::optional(place->second);
}

std::string_view Vocabulary::TokenOf(int32_t id) const noexcept {
  const bool known = id >= 0 && id < id_limit() && tokens_[static_cast<size_t>(id)];
  return known ? std::string_view(*tokens_[static_cast<size_t>(id)]) : std::string_view();
}

}  // namespace tessera
