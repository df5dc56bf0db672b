#include "text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "text/unicode.h"
#include "text/word_scanner.h"

namespace tessera {
namespace {

class LiteralPattern final : public Pattern {
 public:
  explicit LiteralPattern(std::string literal) : literal_(std::move(literal)) {}

  std::vector<Match> Find(std::string_view text) const override {
    std::vector<Match> matches;
    if (literal_.empty()) return matches;
    for (size_t at = text.find(literal_); at != std::string_view::npos;
         at = text.find(literal_, at + literal_.size())) {
      matches.push_back({at, at + literal_.size()});
    }
    return matches;
  }

 private:
  std::string literal_;
};

// PCRE2 counts U+180E as space and no marks as word characters; the original's engine (Oniguruma) follows the Unicode
// properties, and counts six numbers of Latin-1 as word characters.
constexpr std::string_view kSpaces =
    R"(\x{09}-\x{0d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kWords =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";

// What \s, \S, \w and \W stand for, outside and inside brackets; nothing for other escapes.
std::optional<std::string> ClassOfEscape(char escape, bool in_brackets) {
  const std::string_view members = escape == 's' || escape == 'S' ? kSpaces : kWords;
  if (escape == 's' || escape == 'w') return in_brackets ? std::string(members) : fmt::format("[{}]", members);
  if ((escape == 'S' || escape == 'W') && !in_brackets) return fmt::format("[^{}]", members);
  return std::nullopt;
}

[[noreturn]] void Refuse(std::string_view expression, const std::string& place, std::string_view reason) {
  throw Error(ErrorKind::kFormat,
              fmt::format("{}: the regular expression '{}' cannot be used: {}", place, Printable(expression), reason));
}

// Replaces the classes, and refuses what the original's engine (Oniguruma) and PCRE2 read differently.
std::string WithUnicodeClasses(std::string_view expression, const std::string& place) {
  std::string result;
  bool in_brackets = false;
  for (size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    const std::string_view rest = expression.substr(i);
    if (c == '\\' && rest.size() > 1) {
      if (std::string_view("hHyYO").find(rest[1]) != std::string_view::npos)
        Refuse(expression, place, "an unknown escape");
      const auto members = ClassOfEscape(rest[1], in_brackets);
      result += members ? *members : std::string(rest.substr(0, 2));
      ++i;
    } else if (in_brackets && rest.starts_with("[:") && rest.find(":]") != std::string_view::npos) {
      result += rest.substr(0, rest.find(":]") + 2);
      i += rest.find(":]") + 1;
    } else {
      if (in_brackets && (c == '[' || rest.starts_with("&&"))) Refuse(expression, place, "a class inside a class");
      if (rest.starts_with("(?m")) Refuse(expression, place, "the option m");
      if (c == '[' || c == ']') in_brackets = c == '[';
      result += c;
    }
  }
  return result;
}

// Each pointer frees what PCRE2 made.
using Code = std::unique_ptr<pcre2_code, decltype([](pcre2_code* p) { pcre2_code_free(p); })>;
using MatchBlock = std::unique_ptr<pcre2_match_data, decltype([](pcre2_match_data* p) { pcre2_match_data_free(p); })>;
using CompileContext =
    std::unique_ptr<pcre2_compile_context, decltype([](pcre2_compile_context* p) { pcre2_compile_context_free(p); })>;
using MatchContext =
    std::unique_ptr<pcre2_match_context, decltype([](pcre2_match_context* p) { pcre2_match_context_free(p); })>;
using JitStack = std::unique_ptr<pcre2_jit_stack, decltype([](pcre2_jit_stack* p) { pcre2_jit_stack_free(p); })>;

std::string ReasonOf(int code) {
  std::array<PCRE2_UCHAR, 200> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

// One search through one text: what is not shared between threads.
class Search {
 public:
  Search(const pcre2_code* code, std::string_view text)
      : code_(code),
        text_(text),
        found_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)) {
    if (!found_ || !context_) throw Error(ErrorKind::kMemory, "no memory to match a pattern");
    // Enough for every expression that needs linear time; stops those that need exponential time.
    const size_t limit = std::min<size_t>(1'000'000 + 20 * text.size(), 2'000'000'000);
    pcre2_set_match_limit(context_.get(), static_cast<uint32_t>(limit));
    pcre2_set_heap_limit(context_.get(), 256 << 10);  // KiB
  }

  // The first match at or behind `start`. Throws when a limit is reached.
  std::optional<Match> From(size_t start, const std::string& place) {
    int count = Run(start);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT && !stack_) {
      // The default stack (32 KiB of the thread's own) does for nearly all; making one takes longer than most matches.
      stack_.reset(pcre2_jit_stack_create(32 << 10, 8 << 20, nullptr));
      pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
      count = Run(start);
    }
    if (count == PCRE2_ERROR_NOMATCH) return std::nullopt;
    if (count < 0) {
      throw Error(ErrorKind::kUnsupported, fmt::format("{}: the pattern cannot split a text of {} bytes: {}", place,
                                                       text_.size(), ReasonOf(count)));
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(found_.get());
    return Match{ends[0], ends[1]};
  }

 private:
  int Run(size_t start) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), start, PCRE2_NO_UTF_CHECK,
                       found_.get(), context_.get());
  }

  const pcre2_code* code_;
  std::string_view text_;
  MatchBlock found_;
  MatchContext context_;
  JitStack stack_;
};

class RegexPattern final : public Pattern {
 public:
  RegexPattern(const std::string& expression, const std::string& place) : place_(place) {
    const CompileContext context(pcre2_compile_context_create(nullptr));
    if (!context) throw Error(ErrorKind::kMemory, "no memory to compile a pattern");
    pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context.get(), 100);
    const std::string translated = WithUnicodeClasses(expression, place);
    int error = 0;
    PCRE2_SIZE offset = 0;
    // MATCH_INVALID_UTF stays off: texts are valid. ^ and $ match at lines, as in the original's engine.
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                              context.get()));
    if (!code_) Refuse(expression, place, ReasonOf(error));
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // without it the interpreter does the same more slowly
  }

  // An empty match right behind the match before it does not count; the search goes on one code point later.
  std::vector<Match> Find(std::string_view text) const override {
    std::vector<Match> matches;
    Search search(code_.get(), text);
    for (size_t start = 0; start <= text.size();) {
      const std::optional<Match> match = search.From(start, place_);
      if (!match) break;
      if (match->begin < match->end || matches.empty() || matches.back().end != match->end) {
        if (match->end < match->begin) break;  // \K in a look-ahead
        matches.push_back(*match);
        start = match->end;
      } else if (match->end < text.size()) {
        start = match->end;
        NextCodePoint(text, start);
      } else {
        break;
      }
    }
    return matches;
  }

 private:
  std::string place_;
  Code code_;
};

}  // namespace

std::unique_ptr<Pattern> MakeLiteralPattern(std::string literal) {
  return std::make_unique<LiteralPattern>(std::move(literal));
}

std::unique_ptr<Pattern> MakeRegexPattern(const std::string& expression, const std::string& place) {
  if (const auto digits = DigitsOfWordPattern(expression)) return MakeWordPattern(*digits);
  return std::make_unique<RegexPattern>(expression, place);
}

}  // namespace tessera
