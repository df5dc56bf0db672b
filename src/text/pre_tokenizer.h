// The pre-tokenizers of tokenizer.json: text to the pieces a model works on one by one.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/config.h"

namespace tessera {

struct TextPiece {
  std::string text;            // not empty
  bool begins_prompt = false;  // nothing lies before it
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual std::vector<TextPiece> Apply(std::vector<TextPiece> pieces) const = 0;
};

// Throws Error{kFormat}, Error{kUnsupported} naming a type that is not known.
std::unique_ptr<PreTokenizer> MakePreTokenizer(const Config& part);

// The printable code points that stand for bytes in byte-level vocabularies, as UTF-8 (GPT-2, encoder.py).
std::string ByteLevelText(std::string_view bytes);

}  // namespace tessera
