#include "text/prompt_cleaning.h"

#include <algorithm>
#include <iterator>

#include "text/byte_encodings.h"
#include "text/html_entities.h"
#include "text/misread_text.h"
#include "text/unicode.h"

namespace tessera {
namespace {

constexpr size_t kLongestSegment = 1'000'000;  // code points that are repaired together
constexpr char32_t kEscape = 0x1B;

std::string ToUtf8(std::u32string_view codes) {
  std::string text;
  text.reserve(codes.size());
  for (const char32_t code : codes) AppendCodePoint(text, code);
  return text;
}

bool IsBetween(char32_t code, char32_t first, char32_t last) noexcept { return code >= first && code <= last; }

// Ligatures and double letters that exist for the sake of other encodings; all but one decompose by compatibility.
bool IsLatinLigature(char32_t code) noexcept {
  return IsBetween(code, 0x132, 0x133) || code == 0x149 || IsBetween(code, 0x1C4, 0x1CC) ||
         IsBetween(code, 0x1F1, 0x1F3) || IsBetween(code, 0xFB00, 0xFB06);
}

bool IsOtherWidth(char32_t code) noexcept { return code == 0x3000 || IsBetween(code, 0xFF01, 0xFFEF); }

// The Latin or normal width letters of one character; itself where there are none.
void AppendPlain(std::u32string& text, char32_t code) {
  constexpr char32_t kLongSt = 0xFB05;
  if (code == kLongSt) {
    text += U"\u017ft";
  } else if (IsLatinLigature(code) || IsOtherWidth(code)) {
    text += ToCodePoints(Normalize(ToUtf8({&code, 1}), NormalForm::kNfkc));
  } else {
    text += code;
  }
}

char32_t Straight(char32_t code) noexcept {
  if (code == 0x2BC || IsBetween(code, 0x2018, 0x201B)) return '\'';
  return IsBetween(code, 0x201C, 0x201F) ? U'"' : code;
}

bool IsLineBreak(char32_t code) noexcept { return code == '\r' || code == 0x85 || code == 0x2028 || code == 0x2029; }

// Of ASCII, of old Arabic text, of annotations, and the byte order mark.
bool IsDroppedControl(char32_t code) noexcept {
  if (code < 0x20) return code != '\t' && code != '\n' && code != '\f' && code != '\r';
  return code == 0x7F || IsBetween(code, 0x206A, 0x206F) || code == 0xFEFF || IsBetween(code, 0xFFF9, 0xFFFC);
}

std::u32string FixCharacters(std::u32string_view text) {
  std::u32string plain, result;
  for (const char32_t code : text) {
    const bool is_c1 = IsBetween(code, 0x80, 0x9F);
    AppendPlain(plain, is_c1 ? Windows1252().Decode(static_cast<unsigned char>(code)) : code);
  }
  for (size_t i = 0; i < plain.size(); ++i) {
    const char32_t code = Straight(plain[i]);
    if (code == '\r' && i + 1 < plain.size() && plain[i + 1] == '\n') continue;
    result += IsLineBreak(code) ? U'\n' : code;
  }
  return result;
}

// The end of a terminal's escape sequence that starts at `begin`, or `begin`.
size_t EndOfEscape(std::u32string_view text, size_t begin) noexcept {
  if (text[begin] != kEscape || begin + 1 >= text.size() || text[begin + 1] != '[') return begin;
  size_t end = begin + 2;
  while (end < text.size() && (IsBetween(text[end], '0', '9') || text[end] == ';')) ++end;
  if (end == text.size()) return begin;
  return IsBetween(text[end] | 0x20u, 'a', 'z') ? end + 1 : begin;
}

std::u32string WithoutControls(std::u32string_view text) {
  std::u32string result;
  for (size_t i = 0; i < text.size();) {
    const size_t end = EndOfEscape(text, i);
    if (end == i && !IsDroppedControl(text[i])) result += text[i];
    i = std::max(end, i + 1);
  }
  return result;
}

enum class Html { kDecode, kKeep };

// Printable ASCII and the white space that is kept: nothing below changes it.
bool IsPlain(std::string_view text) noexcept {
  return std::ranges::all_of(text, [](char c) { return (c >= ' ' && c <= '~') || c == '\n' || c == '\t'; });
}

std::string FixDecoded(std::string_view text) {
  if (IsPlain(text)) return std::string(text);
  const std::u32string repaired = RepairMisreading(ToCodePoints(text));
  return Normalize(ToUtf8(WithoutControls(FixCharacters(repaired))), NormalForm::kNfc);
}

// Until nothing changes: a repair can bring to light what another one is for.
std::string FixSegment(std::u32string_view segment, Html html) {
  std::string text = ToUtf8(segment);
  while (true) {
    std::string fixed = FixDecoded(html == Html::kDecode ? UnescapeClosedHtml(text) : text);
    if (fixed == text) return text;
    text = std::move(fixed);
  }
}

// str.isspace of Python: White_Space and the four information separators.
bool IsSpace(char32_t code) noexcept { return IsWhiteSpace(code) || IsBetween(code, 0x1C, 0x1F); }

std::u32string_view Stripped(std::u32string_view text) noexcept {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

std::u32string WithSingleBlanks(std::u32string_view text) {
  std::u32string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!IsWhiteSpace(text[i])) {
      result += text[i];
    } else if (i == 0 || !IsWhiteSpace(text[i - 1])) {
      result += U' ';
    }
  }
  return result;
}

}  // namespace

std::string FixText(std::string_view text) {
  const std::u32string codes = ToCodePoints(text);
  std::u32string_view rest = codes;
  std::string result;
  Html html = Html::kDecode;
  while (!rest.empty()) {
    const size_t line = std::min(rest.find(U'\n'), rest.size() - 1) + 1;
    const std::u32string_view segment = rest.substr(0, std::min(line, kLongestSegment));
    // A text with a tag is HTML and stays so, from that line on.
    if (segment.find(U'<') != std::u32string_view::npos) html = Html::kKeep;
    result += FixSegment(segment, html);
    rest.remove_prefix(segment.size());
  }
  return result;
}

std::string CleanPrompt(std::string_view prompt) {
  const std::u32string text = ToCodePoints(UnescapeHtml(UnescapeHtml(FixText(prompt))));
  const std::u32string blanks = WithSingleBlanks(Stripped(text));
  return ToUtf8(Stripped(blanks));
}

}  // namespace tessera
