// Conversions between UTF-8 and the encodings of picture metadata.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace tessera {

enum class ByteOrder { kLittle, kBig };

std::string Latin1ToUtf8(std::string_view text);
// Nothing when `utf8` (valid UTF-8) has characters PNG does not allow in Latin-1 text: beyond U+00FF or control
// characters other than a line feed.
std::optional<std::string> Utf8ToLatin1(std::string_view utf8);

std::string Utf8ToUtf16BigEndian(std::string_view utf8);                // of valid UTF-8
std::string Utf16ToUtf8(std::string_view utf16, ByteOrder byte_order);  // ends at a zero; U+FFFD for lone surrogates

}  // namespace tessera
