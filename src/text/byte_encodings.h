// Encodings of one byte per character: the ones as which UTF-8 is read by mistake.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tessera {

struct ByteEncoding {
  // kSloppy: byte 0x1a stands for U+FFFD; bytes without a meaning stand for the code point of the same number.
  enum class Kind { kStrict, kSloppy };
  std::string_view name;
  Kind kind;
  std::array<char16_t, 128> upper;  // code points of the bytes 0x80 to 0xff

  // Nothing when a character is not in the encoding.
  std::optional<std::string> Encode(std::u32string_view text) const;
  char32_t Decode(unsigned char byte) const noexcept;
};

// In the order in which they are tried: latin-1, windows-1252, then those of other scripts, MacRoman and cp437.
std::span<const ByteEncoding> ByteEncodings() noexcept;
const ByteEncoding& Windows1252() noexcept;

}  // namespace tessera
