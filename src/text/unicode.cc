#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace tessera {
namespace {

struct Sequence {
  size_t length;  // bytes that belong together
  bool valid;
};

// The longest prefix of `bytes` that begins a sequence of table 3-7 of the Unicode standard.
Sequence FirstSequence(std::string_view bytes) noexcept {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  unsigned least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size() || byte(i) < least || byte(i) > most) return {i, false};
    least = 0x80;
    most = 0xBF;
  }
  return {length, true};
}

bool IsAscii(std::string_view text) noexcept {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

utf8proc_category_t CategoryOf(char32_t code) noexcept {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code));
}

int CombiningClass(utf8proc_int32_t code) noexcept { return utf8proc_get_property(code)->combining_class; }

// Marks behind a base are sorted by class, equal ones keep their order; utf8proc itself needs quadratic time for that.
void SortMarks(std::basic_string<utf8proc_int32_t>& codes) {
  for (size_t begin = 0; begin < codes.size();) {
    size_t end = begin;
    while (end < codes.size() && CombiningClass(codes[end]) != 0) ++end;
    if (end - begin > 1) {
      std::stable_sort(codes.begin() + static_cast<std::ptrdiff_t>(begin),
                       codes.begin() + static_cast<std::ptrdiff_t>(end),
                       [](auto a, auto b) { return CombiningClass(a) < CombiningClass(b); });
    }
    begin = end + 1;
  }
}

std::basic_string<utf8proc_int32_t> Decompose(std::string_view text, bool compatibly) {
  const int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatibly ? UTF8PROC_COMPAT : 0);
  std::basic_string<utf8proc_int32_t> codes;
  codes.reserve(text.size());
  std::array<utf8proc_int32_t, 32> parts;
  for (size_t position = 0; position < text.size();) {
    const auto code = static_cast<utf8proc_int32_t>(NextCodePoint(text, position));
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(code, parts.data(), parts.size(), static_cast<utf8proc_option_t>(options), &boundary);
    TESSERA_CHECK(count >= 0 && count <= static_cast<utf8proc_ssize_t>(parts.size()));
    codes.append(parts.data(), static_cast<size_t>(count));
  }
  SortMarks(codes);
  return codes;
}

}  // namespace

std::string ReplaceInvalidUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Sequence sequence = FirstSequence(bytes);
    text += sequence.valid ? bytes.substr(0, sequence.length) : std::string_view("\xEF\xBF\xBD");
    bytes.remove_prefix(sequence.length);
  }
  return text;
}

char32_t NextCodePoint(std::string_view text, size_t& position) noexcept {
  const auto lead = static_cast<unsigned char>(text[position++]);
  if (lead < 0x80) return lead;
  const int rest = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  char32_t code = lead & (0x3Fu >> rest);
  for (int i = 0; i < rest; ++i) code = code << 6 | (static_cast<unsigned char>(text[position++]) & 0x3Fu);
  return code;
}

char32_t LastCodePoint(std::string_view text) noexcept {
  size_t position = text.size() - 1;
  while ((static_cast<unsigned char>(text[position]) & 0xC0u) == 0x80u) --position;
  return NextCodePoint(text, position);
}

void AppendCodePoint(std::string& text, char32_t code) {
  std::array<utf8proc_uint8_t, 4> bytes;
  const auto count = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes.data());
  text.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(count));
}

std::u32string ToCodePoints(std::string_view text) {
  std::u32string codes;
  codes.reserve(text.size());
  for (size_t position = 0; position < text.size();) codes += NextCodePoint(text, position);
  return codes;
}

bool IsLetter(char32_t code) noexcept {
  const auto category = CategoryOf(code);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsNumber(char32_t code) noexcept {
  const auto category = CategoryOf(code);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool IsWhiteSpace(char32_t code) noexcept {
  if (code <= 0x20) return code == 0x20 || (code >= 0x09 && code <= 0x0D);
  if (code < 0x2000) return code == 0x85 || code == 0xA0 || code == 0x1680;
  return code <= 0x200A || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool IsWord(char32_t code) noexcept {
  const auto category = CategoryOf(code);
  if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) return true;  // L*, M*, Nd, Nl
  if (category == UTF8PROC_CATEGORY_PC || code == 0x200C || code == 0x200D) return true;
  // The symbols that are alphabetic: circled and squared Latin letters.
  return (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
         (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
}

bool IsPunctuation(char32_t code) noexcept {
  const auto category = CategoryOf(code);
  if (category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO) return true;
  return code < 0x7F && category >= UTF8PROC_CATEGORY_SM && category <= UTF8PROC_CATEGORY_SO;
}

std::string Normalize(std::string_view text, NormalForm form) {
  if (IsAscii(text)) return std::string(text);
  auto codes = Decompose(text, form == NormalForm::kNfkc || form == NormalForm::kNfkd);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) {
    const auto count = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                                                static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    TESSERA_CHECK(count >= 0);
    codes.resize(static_cast<size_t>(count));
  }
  std::string result;
  result.reserve(text.size());
  for (const utf8proc_int32_t code : codes) AppendCodePoint(result, static_cast<char32_t>(code));
  return result;
}

std::string LowerUnicode(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    const char32_t code = NextCodePoint(text, position);
    if (code == 0x130) {  // the only one whose lower case is two code points
      result += "i\xCC\x87";
    } else {
      AppendCodePoint(result, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
    }
  }
  return result;
}

size_t NextGrapheme(std::string_view text, size_t begin) noexcept {
  utf8proc_int32_t state = 0;
  size_t end = begin;
  auto last = static_cast<utf8proc_int32_t>(NextCodePoint(text, end));
  while (end < text.size()) {
    size_t behind = end;
    const auto next = static_cast<utf8proc_int32_t>(NextCodePoint(text, behind));
    if (utf8proc_grapheme_break_stateful(last, next, &state)) break;
    last = next;
    end = behind;
  }
  return end;
}

}  // namespace tessera
