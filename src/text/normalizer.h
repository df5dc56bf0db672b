// The normalizers of tokenizer.json: text to text, before it is cut into pieces.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "base/config.h"

namespace tessera {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string Apply(std::string_view text) const = 0;  // valid UTF-8 in and out
};

// Throws Error{kFormat}, Error{kUnsupported} naming a type that is not known.
std::unique_ptr<Normalizer> MakeNormalizer(const Config& part);

}  // namespace tessera
