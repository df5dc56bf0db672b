#include "text/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <functional>

#include "base/error.h"
#include "text/tokenizer_part.h"
#include "text/unicode.h"

namespace tessera {
namespace {

constexpr const char* kKnown = "ByteLevel, Digits, Metaspace, Punctuation, Sequence, Split and WhitespaceSplit";
constexpr const char* kGpt2Words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct Part {
  size_t begin, end;
  bool matches;
};

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
enum class Sense { kMatches, kRest };  // which parts count as delimiters

Behavior BehaviorOf(const Config& part, const std::string& fallback) {
  const std::string name = part.String("behavior", fallback);
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  throw Error(ErrorKind::kUnsupported, part.file() + ": the behavior '" + name +
                                           "' is not known; known are Removed, Isolated, MergedWithPrevious, "
                                           "MergedWithNext and Contiguous");
}

std::vector<Part> Cut(size_t size, const std::vector<Match>& matches, Sense sense) {
  const bool delimiter = sense == Sense::kMatches;
  std::vector<Part> parts;
  size_t behind = 0;
  for (const Match& match : matches) {
    if (match.begin > behind) parts.push_back({behind, match.begin, !delimiter});
    parts.push_back({match.begin, match.end, delimiter});
    behind = match.end;
  }
  if (behind < size) parts.push_back({behind, size, !delimiter});
  return parts;
}

// A delimiter joins its neighbour, unless the neighbour is a delimiter too.
std::vector<Part> MergeWithPrevious(const std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool after_delimiter = false;
  for (const Part& part : parts) {
    if (part.matches && !after_delimiter && !merged.empty()) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
    after_delimiter = part.matches;
  }
  return merged;
}

std::vector<Part> MergeWithNext(const std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool before_delimiter = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->matches && !before_delimiter && !merged.empty()) {
      merged.back().begin = part->begin;
    } else {
      merged.push_back(*part);
    }
    before_delimiter = part->matches;
  }
  std::ranges::reverse(merged);
  return merged;
}

std::vector<Part> MergeEqual(const std::vector<Part>& parts) {
  std::vector<Part> merged;
  for (const Part& part : parts) {
    if (!merged.empty() && merged.back().matches == part.matches) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
  }
  return merged;
}

std::vector<Part> Arrange(std::vector<Part> parts, Behavior behavior) {
  switch (behavior) {
    case Behavior::kIsolated:
      break;
    case Behavior::kRemoved:
      std::erase_if(parts, [](const Part& part) { return part.matches; });
      break;
    case Behavior::kMergedWithPrevious:
      return MergeWithPrevious(parts);
    case Behavior::kMergedWithNext:
      return MergeWithNext(parts);
    case Behavior::kContiguous:
      return MergeEqual(parts);
  }
  return parts;
}

class SplitPreTokenizer final : public PreTokenizer {
 public:
  SplitPreTokenizer(std::unique_ptr<Pattern> pattern, Behavior behavior, Sense sense)
      : pattern_(std::move(pattern)), behavior_(behavior), sense_(sense) {}

  std::vector<TextPiece> Apply(std::vector<TextPiece> pieces) const override {
    std::vector<TextPiece> result;
    for (const TextPiece& piece : pieces) {
      for (const Part& part : Arrange(Cut(piece.text.size(), pattern_->Find(piece.text), sense_), behavior_)) {
        if (part.begin == part.end) continue;
        result.push_back(
            {piece.text.substr(part.begin, part.end - part.begin), piece.begins_prompt && part.begin == 0});
      }
    }
    return result;
  }

 private:
  std::unique_ptr<Pattern> pattern_;
  Behavior behavior_;
  Sense sense_;
};

// Single code points of a class.
class ClassPattern final : public Pattern {
 public:
  explicit ClassPattern(bool (*belongs)(char32_t) noexcept) : belongs_(belongs) {}

  std::vector<Match> Find(std::string_view text) const override {
    std::vector<Match> matches;
    for (size_t position = 0; position < text.size();) {
      const size_t begin = position;
      if (belongs_(NextCodePoint(text, position))) matches.push_back({begin, position});
    }
    return matches;
  }

 private:
  bool (*belongs_)(char32_t) noexcept;
};

class ByteLevelPreTokenizer final : public PreTokenizer {
 public:
  explicit ByteLevelPreTokenizer(const Config& part) : prefix_(part.Bool("add_prefix_space", false) ? " " : "") {
    if (!part.Bool("use_regex", true)) return;
    words_ = std::make_unique<SplitPreTokenizer>(MakeRegexPattern(kGpt2Words, part.file()), Behavior::kIsolated,
                                                 Sense::kMatches);
  }

  std::vector<TextPiece> Apply(std::vector<TextPiece> pieces) const override {
    for (TextPiece& piece : pieces) {
      if (!piece.text.starts_with(' ')) piece.text.insert(0, prefix_);
    }
    if (words_) pieces = words_->Apply(std::move(pieces));
    for (TextPiece& piece : pieces) piece.text = ByteLevelText(piece.text);
    return pieces;
  }

 private:
  std::string prefix_;
  std::unique_ptr<PreTokenizer> words_;  // none: the pieces stay whole
};

class MetaspacePreTokenizer final : public PreTokenizer {
 public:
  explicit MetaspacePreTokenizer(const Config& part)
      : mark_(part.String("replacement", "\xE2\x96\x81")), scheme_(SchemeOf(part)) {
    if (!part.Bool("split", true)) return;
    words_ = std::make_unique<SplitPreTokenizer>(MakeLiteralPattern(mark_), Behavior::kMergedWithNext, Sense::kMatches);
  }

  std::vector<TextPiece> Apply(std::vector<TextPiece> pieces) const override {
    for (TextPiece& piece : pieces) {
      std::string marked;
      for (const char c : piece.text) c == ' ' ? marked += mark_ : marked += c;
      const bool wanted = scheme_ == "always" || (scheme_ == "first" && piece.begins_prompt);
      piece.text = wanted && !marked.starts_with(mark_) ? mark_ + marked : marked;
    }
    return words_ ? words_->Apply(std::move(pieces)) : pieces;
  }

 private:
  static std::string SchemeOf(const Config& part) {
    const std::string scheme = part.String("prepend_scheme", part.Bool("add_prefix_space", true) ? "always" : "never");
    if (scheme == "always" || scheme == "first" || scheme == "never") return scheme;
    throw Error(ErrorKind::kUnsupported,
                part.file() + ": the prepend_scheme '" + scheme + "' is not always, first or never");
  }

  std::string mark_, scheme_;
  std::unique_ptr<PreTokenizer> words_;
};

class PreTokenizerSequence final : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(const std::vector<Config>& parts) {
    for (const Config& part : parts) steps_.push_back(MakePreTokenizer(part));
  }
  std::vector<TextPiece> Apply(std::vector<TextPiece> pieces) const override {
    for (const auto& step : steps_) pieces = step->Apply(std::move(pieces));
    return pieces;
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

std::unique_ptr<PreTokenizer> MakeClassSplit(bool (*belongs)(char32_t) noexcept, Behavior behavior) {
  return std::make_unique<SplitPreTokenizer>(std::make_unique<ClassPattern>(belongs), behavior, Sense::kMatches);
}

std::array<char32_t, 256> ByteLevelTable() {
  std::array<char32_t, 256> table{};
  char32_t next = 256;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
    table[byte] = printable ? byte : next++;
  }
  return table;
}

}  // namespace

std::string ByteLevelText(std::string_view bytes) {
  static const std::array<char32_t, 256> kTable = ByteLevelTable();
  std::string text;
  text.reserve(2 * bytes.size());
  for (const char byte : bytes) AppendCodePoint(text, kTable[static_cast<unsigned char>(byte)]);
  return text;
}

std::unique_ptr<PreTokenizer> MakePreTokenizer(const Config& part) {
  const std::string type = TypeOf(part);
  if (type == "ByteLevel") return std::make_unique<ByteLevelPreTokenizer>(part);
  if (type == "Metaspace") return std::make_unique<MetaspacePreTokenizer>(part);
  if (type == "Sequence") return std::make_unique<PreTokenizerSequence>(PartsOf(part, "pretokenizers"));
  if (type == "Split") {
    return std::make_unique<SplitPreTokenizer>(PatternOf(part, "pattern"), BehaviorOf(part, "Isolated"),
                                               part.Bool("invert", false) ? Sense::kRest : Sense::kMatches);
  }
  if (type == "Digits") {
    return MakeClassSplit(IsNumber,
                          part.Bool("individual_digits", false) ? Behavior::kIsolated : Behavior::kContiguous);
  }
  if (type == "Punctuation") return MakeClassSplit(IsPunctuation, BehaviorOf(part, "Isolated"));
  if (type == "WhitespaceSplit") return MakeClassSplit(IsWhiteSpace, Behavior::kRemoved);
  RefuseType(part, "pre-tokenizer", kKnown);
}

}  // namespace tessera
