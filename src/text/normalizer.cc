#include "text/normalizer.h"

#include <vector>

#include "text/precompiled_map.h"
#include "text/tokenizer_part.h"
#include "text/unicode.h"

namespace tessera {
namespace {

constexpr const char* kKnown = "NFC, NFD, NFKC, NFKD, Lowercase, Precompiled, Prepend, Replace, Strip and Sequence";

class FormNormalizer final : public Normalizer {
 public:
  explicit FormNormalizer(NormalForm form) : form_(form) {}
  std::string Apply(std::string_view text) const override { return Normalize(text, form_); }

 private:
  NormalForm form_;
};

class LowercaseNormalizer final : public Normalizer {
 public:
  std::string Apply(std::string_view text) const override { return LowerUnicode(text); }
};

class PrependNormalizer final : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  std::string Apply(std::string_view text) const override { return text.empty() ? "" : prefix_ + std::string(text); }

 private:
  std::string prefix_;
};

class ReplaceNormalizer final : public Normalizer {
 public:
  ReplaceNormalizer(std::unique_ptr<Pattern> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}

  std::string Apply(std::string_view text) const override {
    std::string result;
    size_t behind = 0;
    for (const Match& match : pattern_->Find(text)) {
      result.append(text.substr(behind, match.begin - behind)).append(content_);
      behind = match.end;
    }
    return result.append(text.substr(behind));
  }

 private:
  std::unique_ptr<Pattern> pattern_;
  std::string content_;
};

// Whole grapheme clusters first, then the code points of those that have no replacement.
class PrecompiledNormalizer final : public Normalizer {
 public:
  explicit PrecompiledNormalizer(const Config& part) : map_(part.String("precompiled_charsmap", ""), part.file()) {}

  std::string Apply(std::string_view text) const override {
    std::string result;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = NextGrapheme(text, begin);
      AppendGrapheme(text.substr(begin, end - begin), result);
      begin = end;
    }
    return result;
  }

 private:
  static constexpr size_t kLongestWhole = 5;  // bytes of a cluster that is looked up as a whole

  void AppendGrapheme(std::string_view grapheme, std::string& result) const {
    if (grapheme.size() <= kLongestWhole) {
      if (const auto replacement = map_.Replacement(grapheme)) {
        result.append(*replacement);
        return;
      }
    }
    for (size_t begin = 0, end = 0; begin < grapheme.size(); begin = end) {
      NextCodePoint(grapheme, end);
      const std::string_view symbol = grapheme.substr(begin, end - begin);
      result.append(map_.Replacement(symbol).value_or(symbol));
    }
  }

  PrecompiledMap map_;
};

enum class Side { kLeft, kRight, kBoth, kNone };

class StripNormalizer final : public Normalizer {
 public:
  explicit StripNormalizer(Side side) : side_(side) {}

  std::string Apply(std::string_view text) const override {
    size_t begin = 0, end = text.size();
    if (side_ == Side::kLeft || side_ == Side::kBoth) {
      for (size_t next = begin; next < end && IsWhiteSpace(NextCodePoint(text, next));) begin = next;
    }
    while ((side_ == Side::kRight || side_ == Side::kBoth) && end > begin) {
      const char32_t last = LastCodePoint(text.substr(0, end));
      if (!IsWhiteSpace(last)) break;
      end -= last < 0x80 ? 1 : last < 0x800 ? 2 : 3;
    }
    return std::string(text.substr(begin, end - begin));
  }

 private:
  Side side_;
};

class NormalizerSequence final : public Normalizer {
 public:
  explicit NormalizerSequence(const std::vector<Config>& parts) {
    for (const Config& part : parts) steps_.push_back(MakeNormalizer(part));
  }
  std::string Apply(std::string_view text) const override {
    std::string result(text);
    for (const auto& step : steps_) result = step->Apply(result);
    return result;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

Side SideOf(const Config& part) {
  const bool left = part.Bool("strip_left", true), right = part.Bool("strip_right", true);
  return left ? (right ? Side::kBoth : Side::kLeft) : right ? Side::kRight : Side::kNone;
}

}  // namespace

std::unique_ptr<Normalizer> MakeNormalizer(const Config& part) {
  const std::string type = TypeOf(part);
  if (type == "NFC") return std::make_unique<FormNormalizer>(NormalForm::kNfc);
  if (type == "NFD") return std::make_unique<FormNormalizer>(NormalForm::kNfd);
  if (type == "NFKC") return std::make_unique<FormNormalizer>(NormalForm::kNfkc);
  if (type == "NFKD") return std::make_unique<FormNormalizer>(NormalForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<LowercaseNormalizer>();
  if (type == "Precompiled") return std::make_unique<PrecompiledNormalizer>(part);
  if (type == "Prepend") return std::make_unique<PrependNormalizer>(part.String("prepend", ""));
  if (type == "Replace") {
    return std::make_unique<ReplaceNormalizer>(PatternOf(part, "pattern"), part.String("content", ""));
  }
  if (type == "Strip") return std::make_unique<StripNormalizer>(SideOf(part));
  if (type == "Sequence") return std::make_unique<NormalizerSequence>(PartsOf(part, "normalizers"));
  RefuseType(part, "normalizer", kKnown);
}

}  // namespace tessera
