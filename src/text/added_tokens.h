// Tokens that are found in the text itself, before the model sees it.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // only between characters that belong to no word
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
  bool normalized = false;   // found in the normalized text
};

// Part of a text: an added token, or text between them.
struct TokenOrText {
  int32_t id = -1;  // -1: text
  size_t begin = 0, end = 0;
};

// Finds the longest of the tokens from left to right. Time: the text's length times the longest token's at worst.
class AddedTokenFinder {
 public:
  AddedTokenFinder() : nodes_(1) { roots_.fill(-1); }
  void Add(const AddedToken& token, const std::string& content);  // `content` as it is looked for

  std::vector<TokenOrText> Split(std::string_view text) const;  // parts are not empty

 private:
  struct Node {
    std::vector<std::pair<char, int32_t>> children;
    int32_t token = -1;  // index into tokens_
  };
  struct Found {
    int32_t token;
    size_t length;
  };
  Found LongestAt(std::string_view text) const noexcept;
  int32_t Child(int32_t node, char byte) const noexcept;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;           // a trie over bytes; 0 is unused
  std::array<int32_t, 256> roots_{};  // node of the first byte
};

}  // namespace tessera
