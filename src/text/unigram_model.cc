#include "text/unigram_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "base/config.h"
#include "base/error.h"
#include "base/text.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr double kUnknownPenalty = 10;  // below the least score
constexpr int32_t kNone = -1;

class UnigramModel final : public PieceModel {
 public:
  UnigramModel(const json& vocab, const Config& options) : falls_back_to_bytes_(options.Bool("byte_fallback", false)) {
    for (const auto& entry : vocab) Read(entry, options.file());
    if (tokens_.empty()) throw Error(ErrorKind::kFormat, fmt::format("{}: 'vocab' is empty", options.file()));
    unknown_ = options.Has("unk_id") ? static_cast<int32_t>(options.Int("unk_id", 0, 0, id_limit() - 1)) : kNone;
    least_ = *std::min_element(scores_.begin(), scores_.end());
    Sort();
  }

  // Throws Error{kUnsupported} for a character that is no token when the file names no unknown token.
  void Append(std::string_view piece, std::vector<int32_t>& ids) const override {
    std::vector<std::string_view> reversed;
    std::string_view unknown;  // neighbours are one
    const auto flush = [&] {
      if (!unknown.empty()) reversed.push_back(unknown);
      unknown = {};
    };
    const std::vector<Node> nodes = BestSplit(piece);
    for (size_t end = piece.size(); end > 0; end = nodes[end].begin) {
      const std::string_view token = piece.substr(nodes[end].begin, end - nodes[end].begin);
      if (nodes[end].id != unknown_) {
        flush();
        reversed.push_back(token);
      } else {
        unknown = piece.substr(nodes[end].begin, token.size() + unknown.size());
      }
    }
    flush();
    std::for_each(reversed.rbegin(), reversed.rend(), [&](std::string_view token) { AppendToken(token, ids); });
  }

  std::optional<int32_t> IdOf(std::string_view token) const override {
    const auto at = std::lower_bound(sorted_.begin(), sorted_.end(), token,
                                     [&](int32_t id, std::string_view wanted) { return TokenOf(id) < wanted; });
    if (at == sorted_.end() || TokenOf(*at) != token) return std::nullopt;
    return *at;
  }
  std::string_view TokenOf(int32_t id) const override {
    return id >= 0 && id < id_limit() ? std::string_view(tokens_[static_cast<size_t>(id)]) : "";
  }
  int32_t id_limit() const override { return static_cast<int32_t>(tokens_.size()); }

 private:
  // The best way to end at a byte.
  struct Node {
    double score = 0;
    size_t begin = std::string_view::npos;  // of its last token; npos: no way ends here
    int32_t id = kNone;
  };

  void Read(const json& entry, const std::string& file) {
    const bool is_pair = entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_number();
    if (!is_pair || tokens_.size() >= static_cast<size_t>(kMostTokens)) {
      throw Error(ErrorKind::kFormat, fmt::format("{}: entry {} of 'vocab' must be [token, score], at most {} of them",
                                                  file, tokens_.size(), kMostTokens));
    }
    tokens_.push_back(entry[0].get<std::string>());
    scores_.push_back(entry[1].get<double>());
    if (!std::isfinite(scores_.back())) {
      throw Error(ErrorKind::kFormat,
                  fmt::format("{}: the score of '{}' is not finite", file, Printable(tokens_.back())));
    }
  }

  // A token that is there twice has its last id.
  void Sort() {
    sorted_.resize(tokens_.size());
    std::iota(sorted_.begin(), sorted_.end(), 0);
    std::sort(sorted_.begin(), sorted_.end(),
              [&](int32_t a, int32_t b) { return TokenOf(a) != TokenOf(b) ? TokenOf(a) < TokenOf(b) : a > b; });
    sorted_.erase(
        std::unique(sorted_.begin(), sorted_.end(), [&](int32_t a, int32_t b) { return TokenOf(a) == TokenOf(b); }),
        sorted_.end());
  }

  std::vector<Node> BestSplit(std::string_view piece) const {
    std::vector<Node> nodes(piece.size() + 1);
    for (size_t begin = 0; begin < piece.size();) {
      size_t next = begin;
      NextCodePoint(piece, next);
      const auto offer = [&](size_t end, double score, int32_t id) {
        const double sum = nodes[begin].score + score;
        Node& node = nodes[end];
        if (node.begin == std::string_view::npos || sum > node.score) node = {sum, begin, id};
      };
      bool covers_symbol = false;
      ForPrefixes(piece.substr(begin), [&](size_t length, int32_t id) {
        offer(begin + length, scores_[static_cast<size_t>(id)], id);
        covers_symbol |= begin + length == next;
      });
      if (!covers_symbol) offer(next, least_ - kUnknownPenalty, unknown_);
      begin = next;
    }
    return nodes;
  }

  // body(length, id) for every token that `text` starts with, shortest first.
  template <class Body>
  void ForPrefixes(std::string_view text, const Body& body) const {
    auto low = sorted_.begin(), high = sorted_.end();
    for (size_t length = 1; length <= text.size() && low != high; ++length) {
      const size_t at = length - 1;
      const char byte = text[at];
      const auto before = [&](int32_t id, char wanted) {
        const std::string_view token = TokenOf(id);
        return token.size() <= at || static_cast<unsigned char>(token[at]) < static_cast<unsigned char>(wanted);
      };
      const auto behind = [&](char wanted, int32_t id) {
        const std::string_view token = TokenOf(id);
        return token.size() > at && static_cast<unsigned char>(token[at]) > static_cast<unsigned char>(wanted);
      };
      low = std::lower_bound(low, high, byte, before);
      high = std::upper_bound(low, high, byte, behind);
      if (low != high && TokenOf(*low).size() == length) body(length, *low);
    }
  }

  void AppendToken(std::string_view token, std::vector<int32_t>& ids) const {
    if (const auto id = IdOf(token)) {
      ids.push_back(*id);
      return;
    }
    if (falls_back_to_bytes_ && AppendBytes(token, ids)) return;
    if (unknown_ == kNone) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("'{}' has no token and the tokenizer names no unknown token (unk_id)", Printable(token)));
    }
    ids.push_back(unknown_);
  }

  bool AppendBytes(std::string_view token, std::vector<int32_t>& ids) const {
    const size_t before = ids.size();
    for (const char byte : token) {
      const auto id = IdOf(fmt::format("<0x{:02X}>", static_cast<unsigned char>(byte)));
      if (!id) {
        ids.resize(before);
        return false;
      }
      ids.push_back(*id);
    }
    return true;
  }

  std::vector<std::string> tokens_;
  std::vector<double> scores_;
  std::vector<int32_t> sorted_;  // ids by their tokens' bytes
  int32_t unknown_ = kNone;
  double least_ = 0;
  bool falls_back_to_bytes_;
};

}  // namespace

std::unique_ptr<PieceModel> MakeUnigramModel(const json& model, const std::string& file) {
  json scalars = json::object();
  for (const auto& entry : model.items()) {
    if (!entry.value().is_structured()) scalars[entry.key()] = entry.value();
  }
  const auto vocab = model.find("vocab");
  if (vocab == model.end() || !vocab->is_array()) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: 'vocab' must be an array of [token, score]", file));
  }
  return std::make_unique<UnigramModel>(*vocab, Config(std::move(scalars), file));
}

}  // namespace tessera
