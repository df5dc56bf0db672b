// Text to token ids, from a tokenizer.json (or vocab.json + merges.txt) as the `tokenizers` library would do it.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

// Whether the file's own frame of special tokens ("<s>" at the start, say) goes around the text.
enum class SpecialTokens { kAdd, kLeaveOut };

// Thread safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // Linear time in the text's length. Text is UTF-8; invalid bytes are replaced by U+FFFD as Python's decoder does.
  // Throws Error{kUnsupported} when a regular expression of the file takes too long on it.
  virtual std::vector<int32_t> Encode(std::string_view text,
                                      SpecialTokens special_tokens = SpecialTokens::kAdd) const = 0;
  // At most `most` ids: the text is cut, the frame of special tokens stays.
  virtual std::vector<int32_t> EncodeAtMost(std::string_view text, int64_t most) const = 0;
  virtual std::string PieceOf(int32_t id) const = 0;                      // "" when no token has that id
  virtual std::optional<int32_t> IdOf(std::string_view piece) const = 0;  // vocabulary or added token
  virtual int64_t vocabulary_size() const = 0;                            // one more than the largest id
};

// Reads `folder` (tokenizer.json, tokenizer_config.json, vocab.json, merges.txt, added_tokens.json). Throws
// Error{kIo, kFormat}, Error{kUnsupported} naming a part that is not known.
std::unique_ptr<Tokenizer> LoadTokenizer(const std::filesystem::path& folder);

// tokenizer_config.json / special_tokens_map.json: the padding token's id. Throws Error{kFormat} when there is none.
int32_t PaddingId(const std::filesystem::path& folder, const Tokenizer& tokenizer);

// A prompt as an encoder gets it: ids with padding, and which of them are real.
struct PromptTokens {
  std::vector<int32_t> input_ids;  // [length]
  int64_t valid = 0;               // right padding: ids [0, valid) are real
};

// Truncates to `length` and pads on the right.
PromptTokens PadRight(std::vector<int32_t> ids, int64_t length, int32_t padding_id);

}  // namespace tessera
