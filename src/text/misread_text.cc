#include "text/misread_text.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string_view>

#include "base/text.h"
#include "text/byte_encodings.h"
#include "text/misreading_signs.h"
#include "text/unicode.h"

namespace tessera {
namespace {

// A set of bytes as pairs of first and last; a pattern is one set per byte.
using ByteSet = std::string_view;
struct BytePattern {
  std::array<ByteSet, 6> sets{};
  size_t length = 0;

  constexpr BytePattern(std::initializer_list<ByteSet> list) : length(list.size()) {
    std::copy(list.begin(), list.end(), sets.begin());
  }
};

constexpr ByteSet kContinuation = "\x80\xbf";
constexpr ByteSet kLetterContinuation = "\x80\x84\x86\x9f\xa1\xbf";
constexpr ByteSet kSpace = "  ";

// UTF-8 of likely characters in which a space took the place of the byte 0xa0.
constexpr BytePattern kSpaced[] = {
    {"\xc2\xc3\xc5\xc5\xce\xce\xd0\xd0\xd9\xd9", kSpace},
    {"\xe2\xe3", kSpace, kLetterContinuation},
    {"\xe0\xe3", kLetterContinuation, kSpace},
    {"\xf0\xf0", kSpace, kContinuation, kContinuation},
    {"\xf0\xf0", kContinuation, kSpace, kContinuation},
    {"\xf0\xf0", kContinuation, kContinuation, kSpace},
};

// UTF-8 in which bytes were lost: 0x1a stands for any of them, a question mark for one per character.
constexpr ByteSet kLost = "\x1a\x1a??";
constexpr ByteSet kRest = "\x1a\x1a\x80\xbf";
constexpr ByteSet kAnyRest = "\x1a\x1a??\x80\xbf";
constexpr BytePattern kLossy[] = {
    {"\xc2\xdf", "\x1a\x1a"},
    {"\xc2\xc3", "??"},
    {"\xed\xed", "\xa0\xaf", kLost, "\xed\xed", "\xb0\xbf", kAnyRest},
    {"\xed\xed", "\xa0\xaf", kAnyRest, "\xed\xed", "\xb0\xbf", kLost},
    {"\xe0\xef", kLost, kRest},
    {"\xe0\xef", kRest, kLost},
    {"\xf0\xf4", kLost, kRest, kRest},
    {"\xf0\xf4", kRest, kLost, kRest},
    {"\xf0\xf4", kRest, kRest, kLost},
    {"\x1a\x1a"},
};

bool IsIn(ByteSet set, char c) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  for (size_t i = 0; i + 1 < set.size(); i += 2) {
    if (byte >= static_cast<unsigned char>(set[i]) && byte <= static_cast<unsigned char>(set[i + 1])) return true;
  }
  return false;
}

// Bytes of the first pattern that `bytes` start with, 0 for none.
size_t MatchLength(std::span<const BytePattern> patterns, std::string_view bytes) noexcept {
  for (const BytePattern& pattern : patterns) {
    if (bytes.size() < pattern.length) continue;
    size_t i = 0;
    while (i < pattern.length && IsIn(pattern.sets[i], bytes[i])) ++i;
    if (i == pattern.length) return i;
  }
  return 0;
}

template <class Replacement>
std::string ReplacePatterns(std::span<const BytePattern> patterns, std::string_view bytes,
                            const Replacement& replacement) {
  std::string result;
  result.reserve(bytes.size());
  while (!bytes.empty()) {
    const size_t length = MatchLength(patterns, bytes);
    if (length > 0) {
      result += replacement(bytes.substr(0, length));
    } else {
      result += bytes[0];
    }
    bytes.remove_prefix(std::max<size_t>(length, 1));
  }
  return result;
}

// A lone a with grave accent is mostly a word: its space is kept beside the byte, but before another space and in the
// Portuguese words às, àquele, àquela and àquilo.
std::string RestoreLoneWords(std::string_view bytes) {
  std::string result;
  for (size_t i = 0; i < bytes.size(); ++i) {
    result += bytes[i];
    if (!bytes.substr(i).starts_with("\xc3 ")) continue;
    const std::string_view next = bytes.substr(i + 2);
    const bool joins = std::ranges::any_of(std::array{" ", "quele", "quela", "quilo", "s "},
                                           [&](const char* word) { return next.starts_with(word); });
    if (!joins) result += '\xa0';
  }
  return result;
}

std::string RestoreSpaces(std::string_view bytes) {
  bool found = false;
  for (size_t i = 0; i < bytes.size() && !found; ++i) found = MatchLength(kSpaced, bytes.substr(i)) > 0;
  if (!found) return std::string(bytes);
  return ReplacePatterns(kSpaced, RestoreLoneWords(bytes), [](std::string_view match) {
    std::string restored(match);
    std::ranges::replace(restored, ' ', '\xa0');
    return restored;
  });
}

std::string RestoreLosses(std::string_view bytes) {
  return ReplacePatterns(kLossy, bytes, [](std::string_view) { return "\xEF\xBF\xBD"; });
}

// Java's zero (c0 80) and pairs of surrogates (CESU-8) as proper UTF-8.
std::string WithoutVariants(std::string_view bytes) {
  constexpr BytePattern kPair[] = {{"\xed\xed", "\xa0\xaf", kContinuation, "\xed\xed", "\xb0\xbf", kContinuation}};
  std::string result;
  while (!bytes.empty()) {
    const auto bits = [&](size_t i, unsigned mask) { return static_cast<unsigned char>(bytes[i]) & mask; };
    size_t length = 1;
    if (bytes.starts_with("\xc0\x80")) {
      length = 2;
      result += '\0';
    } else if (MatchLength(kPair, bytes) > 0) {
      length = 6;
      AppendCodePoint(result,
                      (bits(1, 0x0F) << 16 | bits(2, 0x3F) << 10 | bits(4, 0x0F) << 6 | bits(5, 0x3F)) + 0x10000u);
    } else {
      result += bytes[0];
    }
    bytes.remove_prefix(length);
  }
  return result;
}

std::optional<std::u32string> ReadAgain(const ByteEncoding& encoding, std::u32string_view text) {
  std::optional<std::string> bytes = encoding.Encode(text);
  if (!bytes) return std::nullopt;
  // In MacRoman a space behind such a byte is a dash with its space.
  if (encoding.name != "macroman") *bytes = RestoreSpaces(*bytes);
  if (encoding.kind == ByteEncoding::Kind::kSloppy) *bytes = RestoreLosses(*bytes);
  if (bytes->find_first_of("\xed\xc0") != std::string::npos) *bytes = WithoutVariants(*bytes);
  if (!IsUtf8(*bytes)) return std::nullopt;
  return ToCodePoints(*bytes);
}

// What a character can be in UTF-8 that was misread as one of the encodings close to Latin-1.
struct Clue {
  int length = 0;             // bytes of the sequence it can begin
  bool continues = false;     // it can be a later byte
  bool only_misread = false;  // and does not stand for itself beside misread text
};

using Clues = std::map<char32_t, Clue>;

bool IsNearLatin1(const ByteEncoding& encoding) {
  return encoding.name == "latin-1" || encoding.name.starts_with("windows-");
}

Clues MakeClues() {
  Clues clues;
  for (const ByteEncoding& encoding : ByteEncodings()) {
    if (!IsNearLatin1(encoding)) continue;
    for (unsigned byte = 0x80; byte <= 0xF3; ++byte) {
      Clue& clue = clues[encoding.Decode(static_cast<unsigned char>(byte))];
      if (byte < 0xC0) clue.continues = clue.only_misread = true;
      if (byte >= 0xC2 && byte <= 0xDF) clue.length = 2;
      if (byte >= 0xE0 && byte <= 0xEF) clue.length = 3;
      if (byte == 0xF0 || byte == 0xF3) clue.length = 4;
    }
  }
  clues[U' '].continues = true;  // for U+00A0
  for (const char32_t code : std::u32string_view(U"–—―‘’‚“”„•…")) clues[code].only_misread = false;
  return clues;
}

Clue ClueOf(char32_t code) {
  static const Clues clues = MakeClues();
  const auto clue = clues.find(code);
  return clue == clues.end() ? Clue{} : clue->second;
}

// The end of the sequences that look like UTF-8 from `begin` on; `begin` when there is none.
size_t EndOfSequences(std::u32string_view text, size_t begin) {
  size_t end = begin;
  while (end < text.size()) {
    const auto length = static_cast<size_t>(ClueOf(text[end]).length);
    if (length == 0 || end + length > text.size()) break;
    const std::u32string_view rest = text.substr(end + 1, length - 1);
    if (!std::ranges::all_of(rest, [](char32_t code) { return ClueOf(code).continues; })) break;
    end += length;
  }
  return end;
}

std::u32string RepairParts(std::u32string_view text) {
  std::u32string result;
  for (size_t at = 0; at < text.size();) {
    const bool inside = at > 0 && ClueOf(text[at - 1]).only_misread;
    const size_t end = inside ? at : EndOfSequences(text, at);
    const std::u32string_view part = text.substr(at, std::max<size_t>(end - at, 1));
    const bool repair = end > at && part.size() < text.size() && LooksMisread(part);
    result += repair ? RepairMisreading(std::u32string(part)) : std::u32string(part);
    at += part.size();
  }
  return result;
}

bool IsC1(char32_t code) noexcept { return code >= 0x80 && code <= 0x9F; }

// Control characters of Latin-1 are meant as windows-1252, as browsers take them.
std::u32string C1ToWindows1252(std::u32string_view text) {
  std::u32string result(text);
  for (char32_t& code : result) {
    if (IsC1(code)) code = Windows1252().Decode(static_cast<unsigned char>(code));
  }
  return result;
}

std::u32string RepairOnce(const std::u32string& text) {
  const bool is_ascii = std::ranges::all_of(text, [](char32_t code) { return code < 0x80; });
  if (is_ascii || !LooksMisread(text)) return text;
  for (const ByteEncoding& encoding : ByteEncodings()) {
    auto again = ReadAgain(encoding, text);
    if (again) return *std::move(again);
  }
  std::u32string parts = RepairParts(text);
  return parts != text ? parts : C1ToWindows1252(text);
}

}  // namespace

std::u32string RepairMisreading(std::u32string text) {
  while (true) {
    std::u32string repaired = RepairOnce(text);
    if (repaired == text) return text;
    text = std::move(repaired);
  }
}

}  // namespace tessera
