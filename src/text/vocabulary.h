// Tokens and their ids, both ways.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

namespace tessera {

constexpr int64_t kMostTokens = int64_t{1} << 22;

// An id of tokenizer.json for `token`. Throws Error{kFormat} unless it is an integer in [0, kMostTokens).
int32_t TokenId(const nlohmann::json& id, std::string_view token, const std::string& file);

class Vocabulary {
 public:
  // From {"token": id, ...}. Throws Error{kFormat} for ids that are none, too large or given twice.
  Vocabulary(const nlohmann::json& vocab, const std::string& file);
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  std::optional<int32_t> IdOf(std::string_view token) const;
  std::string_view TokenOf(int32_t id) const noexcept;  // "" when no token has that id
  int32_t id_limit() const noexcept { return static_cast<int32_t>(tokens_.size()); }

 private:
  std::vector<std::optional<std::string>> tokens_;     // by id
  std::unordered_map<std::string_view, int32_t> ids_;  // views into tokens_
};

}  // namespace tessera
