#include "text/word_scanner.h"

#include "text/unicode.h"

namespace tessera {
namespace {

constexpr std::string_view kBefore = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})";
constexpr std::string_view kBehind = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

enum class Class { kLetter, kNumber, kNewline, kSpace, kOther };

Class ClassOf(char32_t code) noexcept {
  if (code == '\r' || code == '\n') return Class::kNewline;
  if (IsWhiteSpace(code)) return Class::kSpace;
  if (IsLetter(code)) return Class::kLetter;
  return IsNumber(code) ? Class::kNumber : Class::kOther;
}

struct Symbol {
  size_t begin;  // byte
  char32_t code;
  Class kind;
};

// Works on indices of symbols; the list ends with a sentinel that is not part of the text.
class Scanner {
 public:
  Scanner(std::string_view text, int digits) : digits_(digits) {
    symbols_.reserve(text.size() + 1);
    for (size_t position = 0; position < text.size();) {
      const size_t begin = position;
      const char32_t code = NextCodePoint(text, position);
      symbols_.push_back({begin, code, ClassOf(code)});
    }
    count_ = symbols_.size();
    symbols_.push_back({text.size(), 0, Class::kOther});
  }

  std::vector<Match> Run() const {
    std::vector<Match> matches;
    for (size_t at = 0; at < count_;) {
      const size_t end = EndOfPiece(at);
      matches.push_back({symbols_[at].begin, symbols_[end].begin});
      at = end;
    }
    return matches;
  }

 private:
  bool Is(size_t at, Class kind) const { return at < count_ && symbols_[at].kind == kind; }

  size_t SkipWhile(size_t at, Class kind) const {
    while (Is(at, kind)) ++at;
    return at;
  }

  // The alternatives of the expression in their order.
  size_t EndOfPiece(size_t at) const {
    if (const size_t end = EndOfContraction(at)) return end;
    if (Is(at, Class::kLetter)) return SkipWhile(at, Class::kLetter);
    if ((Is(at, Class::kSpace) || Is(at, Class::kOther)) && Is(at + 1, Class::kLetter)) {
      return SkipWhile(at + 1, Class::kLetter);
    }
    if (Is(at, Class::kNumber)) {
      size_t end = at + 1;
      while (end < at + static_cast<size_t>(digits_) && Is(end, Class::kNumber)) ++end;
      return end;
    }
    const size_t symbols = symbols_[at].code == ' ' ? at + 1 : at;
    if (Is(symbols, Class::kOther)) return SkipWhile(SkipWhile(symbols, Class::kOther), Class::kNewline);
    return EndOfSpace(at);
  }

  // 's 't 're 've 'm 'll 'd in any case; the long s folds to s. 0 when there is none.
  size_t EndOfContraction(size_t at) const {
    if (symbols_[at].code != '\'') return 0;
    const auto letter = [&](size_t place) -> char32_t {
      const char32_t code = place < count_ ? symbols_[place].code : 0;
      if (code == 0x17F) return U's';
      return code >= 'A' && code <= 'Z' ? code + ('a' - 'A') : code;
    };
    const char32_t first = letter(at + 1), second = letter(at + 2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
    const bool two = ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l');
    return two ? at + 3 : 0;
  }

  // Up to the last line break of the run; without one all but the space before a word.
  size_t EndOfSpace(size_t at) const {
    size_t end = at, behind_newline = at;
    for (; Is(end, Class::kSpace) || Is(end, Class::kNewline); ++end) {
      if (Is(end, Class::kNewline)) behind_newline = end + 1;
    }
    if (behind_newline > at) return behind_newline;
    return end < count_ && end > at + 1 ? end - 1 : end;
  }

  int digits_;
  size_t count_ = 0;
  std::vector<Symbol> symbols_;
};

class WordPattern final : public Pattern {
 public:
  explicit WordPattern(int digits) : digits_(digits) {}
  std::vector<Match> Find(std::string_view text) const override { return Scanner(text, digits_).Run(); }

 private:
  int digits_;
};

}  // namespace

std::optional<int> DigitsOfWordPattern(std::string_view expression) {
  if (!expression.starts_with(kBefore) || !expression.ends_with(kBehind)) return std::nullopt;
  if (expression.size() < kBefore.size() + kBehind.size()) return std::nullopt;
  const std::string_view count = expression.substr(kBefore.size(), expression.size() - kBefore.size() - kBehind.size());
  if (count.empty()) return 1;
  return count == "{1,3}" ? std::optional(3) : std::nullopt;
}

std::unique_ptr<Pattern> MakeWordPattern(int digits) { return std::make_unique<WordPattern>(digits); }

}  // namespace tessera
