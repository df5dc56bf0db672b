#include "text/byte_encodings.h"

#include <algorithm>

namespace tessera {
namespace {

constexpr ByteEncoding kEncodings[] = {
#include "text/byte_encodings.inc"
};
constexpr char32_t kReplacement = 0xFFFD;
constexpr char kSubstitute = 0x1A;

}  // namespace

std::optional<std::string> ByteEncoding::Encode(std::u32string_view text) const {
  std::string bytes;
  bytes.reserve(text.size());
  for (const char32_t code : text) {
    if (code < 0x80 && !(kind == Kind::kSloppy && code == kSubstitute)) {
      bytes += static_cast<char>(code);
    } else if (kind == Kind::kSloppy && code == kReplacement) {
      bytes += kSubstitute;
    } else {
      const auto* place = std::ranges::find(upper, code);
      if (place == upper.end()) return std::nullopt;
      bytes += static_cast<char>(0x80 + (place - upper.begin()));
    }
  }
  return bytes;
}

char32_t ByteEncoding::Decode(unsigned char byte) const noexcept {
  if (byte >= 0x80) return upper[byte - 0x80u];
  return kind == Kind::kSloppy && byte == kSubstitute ? kReplacement : byte;
}

std::span<const ByteEncoding> ByteEncodings() noexcept { return kEncodings; }

const ByteEncoding& Windows1252() noexcept { return kEncodings[1]; }

}  // namespace tessera
