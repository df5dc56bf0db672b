#include "media/unicode.h"

#include <cstdint>

namespace tessera {
namespace {

// Takes the first code point off valid UTF-8.
uint32_t TakeCodePoint(std::string_view& utf8) {
  const auto first = static_cast<unsigned char>(utf8[0]);
  const size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  uint32_t code = length == 1 ? first : first & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) code = code << 6 | (static_cast<unsigned char>(utf8[i]) & 0x3F);
  utf8.remove_prefix(length);
  return code;
}

void AppendUtf8(std::string& text, uint32_t code) {
  const auto put = [&](uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
  }
  put(0x80 | (code & 0x3F));
}

void AppendBigEndian(std::string& text, uint32_t unit) {
  text += static_cast<char>(unit >> 8);
  text += static_cast<char>(unit & 0xFF);
}

}  // namespace

std::string Latin1ToUtf8(std::string_view text) {
  std::string utf8;
  for (const char c : text) AppendUtf8(utf8, static_cast<unsigned char>(c));
  return utf8;
}

std::optional<std::string> Utf8ToLatin1(std::string_view utf8) {
  std::string latin1;
  while (!utf8.empty()) {
    const uint32_t code = TakeCodePoint(utf8);
    const bool control = (code < 0x20 && code != '\n') || (code >= 0x7F && code < 0xA0);
    if (code > 0xFF || control) return std::nullopt;
    latin1 += static_cast<char>(code);
  }
  return latin1;
}

std::string Utf8ToUtf16BigEndian(std::string_view utf8) {
  std::string utf16;
  while (!utf8.empty()) {
    const uint32_t code = TakeCodePoint(utf8);
    if (code >= 0x10000) AppendBigEndian(utf16, 0xD800 + ((code - 0x10000) >> 10));
    AppendBigEndian(utf16, code < 0x10000 ? code : 0xDC00 + ((code - 0x10000) & 0x3FF));
  }
  return utf16;
}

std::string Utf16ToUtf8(std::string_view utf16, ByteOrder byte_order) {
  const auto unit = [&](size_t i) -> uint32_t {
    const auto a = static_cast<unsigned char>(utf16[i]), b = static_cast<unsigned char>(utf16[i + 1]);
    return byte_order == ByteOrder::kBig ? a << 8 | b : b << 8 | a;
  };
  std::string utf8;
  for (size_t i = 0; i + 1 < utf16.size() && unit(i) != 0; i += 2) {
    uint32_t code = unit(i);
    const bool paired =
        code >= 0xD800 && code < 0xDC00 && i + 3 < utf16.size() && unit(i + 2) >= 0xDC00 && unit(i + 2) < 0xE000;
    if (paired) {
      code = 0x10000 + ((code - 0xD800) << 10) + (unit(i + 2) - 0xDC00);
      i += 2;
    } else if (code >= 0xD800 && code < 0xE000) {
      code = 0xFFFD;
    }
    AppendUtf8(utf8, code);
  }
  return utf8;
}

}  // namespace tessera
