// SentencePiece's precompiled character map: a double-array trie from byte strings to replacements.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

class PrecompiledMap {
 public:
  // `base64` as tokenizer.json has it: u32 size of the trie in bytes, its units, then replacements, each ended by 0.
  // Throws Error{kFormat}.
  PrecompiledMap(std::string_view base64, const std::string& file);

  // What the shortest key that `text` starts with is replaced by; nothing when there is none.
  std::optional<std::string_view> Replacement(std::string_view text) const noexcept;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace tessera
