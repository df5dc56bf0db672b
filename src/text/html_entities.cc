#include "text/html_entities.h"

#include <algorithm>
#include <optional>
#include <span>

#include "text/byte_encodings.h"
#include "text/unicode.h"

namespace tessera {
namespace {

struct Entity {
  std::string_view name, text;
};

constexpr Entity kEntities[] = {
#include "text/html_entities.inc"
};
constexpr Entity kCapitals[] = {
#include "text/html_capitals.inc"
};
constexpr size_t kLongestName = 32;        // characters between & and ;
constexpr size_t kLongestClosedName = 24;  // the same where the semicolon is required
constexpr char32_t kBeyondUnicode = 0x110000;

std::optional<std::string_view> Find(std::span<const Entity> entities, std::string_view name) {
  const auto place = std::ranges::lower_bound(entities, name, {}, &Entity::name);
  if (place == entities.end() || place->name != name) return std::nullopt;
  return place->text;
}

bool IsDigit(char c) noexcept { return c >= '0' && c <= '9'; }
bool IsHexDigit(char c) noexcept { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool IsAsciiAlphanumeric(char c) noexcept { return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Control characters and code points that are no characters.
bool IsInvalid(char32_t code) noexcept {
  if (code < 0x20) return code != '\t' && code != '\n' && code != '\f' && code != '\r';
  return (code >= 0x7F && code < 0xA0) || (code >= 0xFDD0 && code <= 0xFDEF) || (code & 0xFFFEu) == 0xFFFEu;
}

std::string TextOfNumber(char32_t code) {
  std::string text;
  if (code == 0 || code >= kBeyondUnicode || (code >= 0xD800 && code < 0xE000)) {
    AppendCodePoint(text, 0xFFFD);
  } else if (code >= 0x80 && code < 0xA0) {
    AppendCodePoint(text, Windows1252().Decode(static_cast<unsigned char>(code)));
  } else if (!IsInvalid(code)) {
    AppendCodePoint(text, code);
  }
  return text;
}

// What a reference became and how many bytes behind the & it took.
struct Reference {
  std::string text;
  size_t length = 0;
};

// `rest` starts with #.
std::optional<Reference> ReadNumber(std::string_view rest) {
  const bool is_hex = rest.size() > 1 && (rest[1] == 'x' || rest[1] == 'X');
  const size_t begin = is_hex ? 2 : 1;
  char32_t code = 0;
  size_t end = begin;
  for (; end < rest.size() && (is_hex ? IsHexDigit(rest[end]) : IsDigit(rest[end])); ++end) {
    const char c = rest[end];
    const auto digit = static_cast<char32_t>(IsDigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    code = std::min<char32_t>(code * (is_hex ? 16 : 10) + digit, kBeyondUnicode);
  }
  if (end == begin) return std::nullopt;
  if (end < rest.size() && rest[end] == ';') ++end;
  return Reference{TextOfNumber(code), end};
}

std::string_view NameIn(std::string_view rest) {
  size_t end = 0;
  for (size_t count = 0; count < kLongestName && end < rest.size(); ++count) {
    if (std::string_view("\t\n\f <&#;").find(rest[end]) != std::string_view::npos) break;
    NextCodePoint(rest, end);
  }
  if (end > 0 && end < rest.size() && rest[end] == ';') ++end;
  return rest.substr(0, end);
}

std::optional<Reference> ReadName(std::string_view rest) {
  const std::string_view name = NameIn(rest);
  for (size_t length = name.size(); length > 1; --length) {
    const auto text = Find(kEntities, name.substr(0, length));
    if (text) return Reference{std::string(*text), length};
  }
  return std::nullopt;
}

std::optional<Reference> ReadReference(std::string_view rest) {
  if (rest.empty()) return std::nullopt;
  return rest[0] == '#' ? ReadNumber(rest) : ReadName(rest);
}

std::optional<Reference> ReadClosedReference(std::string_view rest) {
  const size_t begin = !rest.empty() && rest[0] == '#' ? 1 : 0;
  size_t end = begin;
  while (end < rest.size() && IsAsciiAlphanumeric(rest[end])) ++end;
  if (end == begin || end - begin > kLongestClosedName || end == rest.size() || rest[end] != ';') return std::nullopt;
  const std::string_view whole = rest.substr(0, end + 1);
  if (begin == 1) {
    auto number = ReadNumber(whole);
    // A reference to the semicolon itself looks like one that was read in part; both stay.
    if (!number || number->length != whole.size() || number->text == ";") return std::nullopt;
    return number;
  }
  auto text = Find(kEntities, whole);
  if (!text) text = Find(kCapitals, whole);
  if (!text) return std::nullopt;
  return Reference{std::string(*text), whole.size()};
}

using Reader = std::optional<Reference> (*)(std::string_view);

std::string Replace(std::string_view text, Reader read) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const size_t ampersand = std::min(text.find('&'), text.size());
    result += text.substr(0, ampersand);
    text.remove_prefix(ampersand);
    if (text.empty()) break;
    const auto reference = read(text.substr(1));
    result += reference ? reference->text : "&";
    text.remove_prefix(1 + (reference ? reference->length : 0));
  }
  return result;
}

}  // namespace

std::string UnescapeHtml(std::string_view text) { return Replace(text, ReadReference); }

std::string UnescapeClosedHtml(std::string_view text) { return Replace(text, ReadClosedReference); }

}  // namespace tessera
