#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"

namespace tessera {
namespace {

bool StandsAlone(std::string_view text, size_t begin, size_t end) noexcept {
  size_t next = end;
  return (begin == 0 || !IsWord(LastCodePoint(text.substr(0, begin)))) &&
         (end == text.size() || !IsWord(NextCodePoint(text, next)));
}

size_t BeginOfSpaceBefore(std::string_view text, size_t begin, size_t least) noexcept {
  while (begin > least) {
    const char32_t code = LastCodePoint(text.substr(0, begin));
    if (!IsWhiteSpace(code)) break;
    begin -= code < 0x80 ? 1 : code < 0x800 ? 2 : 3;
  }
  return std::max(begin, least);
}

size_t EndOfSpaceBehind(std::string_view text, size_t end) noexcept {
  for (size_t next = end; next < text.size() && IsWhiteSpace(NextCodePoint(text, next));) end = next;
  return end;
}

}  // namespace

void AddedTokenFinder::Add(const AddedToken& token, const std::string& content) {
  if (content.empty()) return;
  int32_t& root = roots_[static_cast<unsigned char>(content[0])];
  if (root < 0) {
    root = static_cast<int32_t>(nodes_.size());
    nodes_.emplace_back();
  }
  int32_t node = root;
  for (const char byte : std::string_view(content).substr(1)) {
    int32_t child = Child(node, byte);
    if (child < 0) {
      child = static_cast<int32_t>(nodes_.size());
      nodes_[static_cast<size_t>(node)].children.emplace_back(byte, child);
      nodes_.emplace_back();
    }
    node = child;
  }
  Node& last = nodes_[static_cast<size_t>(node)];
  if (last.token >= 0) return;  // two tokens that are normalized to the same text: the first counts
  last.token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

int32_t AddedTokenFinder::Child(int32_t node, char byte) const noexcept {
  for (const auto& [edge, child] : nodes_[static_cast<size_t>(node)].children) {
    if (edge == byte) return child;
  }
  return -1;
}

AddedTokenFinder::Found AddedTokenFinder::LongestAt(std::string_view text) const noexcept {
  Found longest{-1, 0};
  int32_t node = roots_[static_cast<unsigned char>(text[0])];
  for (size_t length = 1; node >= 0; ++length) {
    const int32_t token = nodes_[static_cast<size_t>(node)].token;
    if (token >= 0) longest = {token, length};
    node = length < text.size() ? Child(node, text[length]) : -1;
  }
  return longest;
}

// A match that is refused (single_word) hides shorter ones at its place; stripped white space may hide the next.
std::vector<TokenOrText> AddedTokenFinder::Split(std::string_view text) const {
  std::vector<TokenOrText> parts;
  size_t behind = 0;
  for (size_t at = 0; at < text.size();) {
    const Found found = LongestAt(text.substr(at));
    if (found.token < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(found.token)];
    size_t begin = at, end = at + found.length;
    at = end;
    if (token.single_word && !StandsAlone(text, begin, end)) continue;
    if (token.lstrip) begin = BeginOfSpaceBefore(text, begin, behind);
    if (token.rstrip) end = EndOfSpaceBehind(text, end);
    if (begin > behind) parts.push_back({-1, behind, begin});
    parts.push_back({token.id, begin, end});
    behind = end;
  }
  if (behind < text.size()) parts.push_back({-1, behind, text.size()});
  return parts;
}

}  // namespace tessera
