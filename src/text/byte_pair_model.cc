#include "text/byte_pair_model.h"

#include <queue>
#include <unordered_map>

#include <fmt/format.h>

#include "base/config.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace tessera {
namespace {

using nlohmann::json;

struct Merge {
  int32_t rank, id;  // smaller ranks come first; id of the merged token
};

// Sennrich et al. 2016 (arXiv 1508.07909); merging with a queue over a linked list takes n log n for a piece of n.
class WordMerger {
 public:
  using Merges = std::unordered_map<uint64_t, Merge>;

  WordMerger(const Merges& merges, std::vector<int32_t> ids) : merges_(merges) {
    symbols_.reserve(ids.size());
    const auto count = static_cast<int32_t>(ids.size());
    for (int32_t i = 0; i < count; ++i)
      symbols_.push_back({ids[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1});
    for (int32_t i = 0; i + 1 < count; ++i) Offer(i);
  }

  void Run() {
    while (!queue_.empty()) {
      const Candidate candidate = queue_.top();
      queue_.pop();
      Symbol& left = At(candidate.left);
      if (left.id < 0 || left.next < 0) continue;
      const auto merge = merges_.find(PairKey(left.id, At(left.next).id));
      // Entries of pairs that are gone stay in the queue.
      if (merge == merges_.end() || merge->second.id != candidate.id) continue;
      Join(candidate.left, candidate.id);
    }
  }

  void AppendTo(std::vector<int32_t>& ids) const {
    for (const Symbol& symbol : symbols_) {
      if (symbol.id >= 0) ids.push_back(symbol.id);
    }
  }

  static uint64_t PairKey(int32_t left, int32_t right) noexcept {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

 private:
  struct Symbol {
    int32_t id;  // -1: merged into its left neighbour
    int32_t previous, next;
  };
  struct Candidate {
    int32_t rank, left, id;
    bool operator<(const Candidate& other) const noexcept {  // the queue's top is the largest
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };

  Symbol& At(int32_t i) { return symbols_[static_cast<size_t>(i)]; }

  void Offer(int32_t left) {
    const auto merge = merges_.find(PairKey(At(left).id, At(At(left).next).id));
    if (merge != merges_.end()) queue_.push({merge->second.rank, left, merge->second.id});
  }

  void Join(int32_t at, int32_t id) {
    Symbol& left = At(at);
    Symbol& right = At(left.next);
    left.id = id;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) At(left.next).previous = at;
    if (left.previous >= 0) Offer(left.previous);
    if (left.next >= 0) Offer(at);
  }

  const Merges& merges_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> queue_;
};

struct MergedTokens {
  std::string_view left, right;
};

// "a b" or ["a", "b"].
MergedTokens SplitMerge(const json& merge, size_t index, const std::string& file) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
  }
  if (merge.is_string()) {
    const std::string_view text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  throw Error(ErrorKind::kFormat,
              fmt::format("{}: merge {} must name two tokens, found {}", file, index, DescribeJson(merge)));
}

[[noreturn]] void RefuseUnknown(std::string_view token, const std::string& what, const std::string& file) {
  throw Error(ErrorKind::kFormat, fmt::format("{}: {} '{}' is not in the vocabulary", file, what, Printable(token)));
}

class BytePairModel final : public PieceModel {
 public:
  BytePairModel(const json& model, const Config& options)
      : vocabulary_(model.contains("vocab") ? model.at("vocab") : json(), options.file()),
        prefix_(options.String("continuing_subword_prefix", "")),
        suffix_(options.String("end_of_word_suffix", "")),
        fuses_unknown_(options.Bool("fuse_unk", false)),
        falls_back_to_bytes_(options.Bool("byte_fallback", false)),
        ignores_merges_(options.Bool("ignore_merges", false)) {
    if (options.Has("unk_token")) {
      unknown_ = vocabulary_.IdOf(options.String("unk_token", ""));
      if (!unknown_) RefuseUnknown(options.String("unk_token", ""), "the unknown token", options.file());
    }
    for (int byte = 0; byte < 256; ++byte)
      byte_ids_.push_back(vocabulary_.IdOf(fmt::format("<0x{:02X}>", byte)).value_or(-1));
    ReadMerges(model, options.file());
  }

  void Append(std::string_view piece, std::vector<int32_t>& ids) const override {
    if (ignores_merges_) {
      if (const auto id = vocabulary_.IdOf(piece)) {
        ids.push_back(*id);
        return;
      }
    }
    WordMerger merger(merges_, Symbols(piece));
    merger.Run();
    merger.AppendTo(ids);
  }

  std::optional<int32_t> IdOf(std::string_view token) const override { return vocabulary_.IdOf(token); }
  std::string_view TokenOf(int32_t id) const override { return vocabulary_.TokenOf(id); }
  int32_t id_limit() const override { return vocabulary_.id_limit(); }

 private:
  int32_t MergeToken(std::string_view token, size_t merge, const std::string& file) const {
    if (const auto id = vocabulary_.IdOf(token)) return *id;
    RefuseUnknown(token, fmt::format("merge {}: the token", merge), file);
  }

  void ReadMerges(const json& model, const std::string& file) {
    const auto merges = model.find("merges");
    if (merges == model.end() || !merges->is_array()) {
      throw Error(ErrorKind::kFormat, fmt::format("{}: 'merges' must be an array", file));
    }
    merges_.reserve(merges->size());
    for (size_t i = 0; i < merges->size(); ++i) {
      const auto [left, right] = SplitMerge((*merges)[i], i, file);
      const int32_t left_id = MergeToken(left, i, file), right_id = MergeToken(right, i, file);
      const std::string_view rest = right.starts_with(prefix_) ? right.substr(prefix_.size()) : right;
      const int32_t id = MergeToken(std::string(left).append(rest), i, file);
      merges_.insert_or_assign(WordMerger::PairKey(left_id, right_id), Merge{static_cast<int32_t>(i), id});
    }
  }

  // The tokens of the single code points. Those without one become bytes or the unknown token, or are left out.
  std::vector<int32_t> Symbols(std::string_view piece) const {
    std::vector<int32_t> ids;
    ids.reserve(piece.size());
    bool pending = false;  // an unknown token that may take in the next one
    for (size_t position = 0; position < piece.size();) {
      const size_t begin = position;
      NextCodePoint(piece, position);
      const std::optional<int32_t> id = SymbolId(piece, begin, position);
      if (!id && AppendBytes(piece, begin, position, ids)) continue;
      if (pending && (id || !fuses_unknown_)) ids.push_back(*unknown_);
      pending = !id && unknown_.has_value();
      if (id) ids.push_back(*id);
    }
    if (pending) ids.push_back(*unknown_);
    return ids;
  }

  std::optional<int32_t> SymbolId(std::string_view piece, size_t begin, size_t end) const {
    const std::string_view symbol = piece.substr(begin, end - begin);
    const bool has_prefix = begin > 0 && !prefix_.empty(), has_suffix = end == piece.size() && !suffix_.empty();
    if (!has_prefix && !has_suffix) return vocabulary_.IdOf(symbol);
    return vocabulary_.IdOf(fmt::format("{}{}{}", has_prefix ? prefix_ : "", symbol, has_suffix ? suffix_ : ""));
  }

  // All bytes of the symbol, decorations included, or none.
  bool AppendBytes(std::string_view piece, size_t begin, size_t end, std::vector<int32_t>& ids) const {
    if (!falls_back_to_bytes_) return false;
    const std::string symbol = fmt::format("{}{}{}", begin > 0 ? prefix_ : "", piece.substr(begin, end - begin),
                                           end == piece.size() ? suffix_ : "");
    const size_t before = ids.size();
    for (const char byte : symbol) {
      const int32_t id = byte_ids_[static_cast<unsigned char>(byte)];
      if (id < 0) {
        ids.resize(before);
        return false;
      }
      ids.push_back(id);
    }
    return true;
  }

  Vocabulary vocabulary_;
  WordMerger::Merges merges_;
  std::string prefix_, suffix_;  // what a token inside, or at the end of, a word is written with
  std::optional<int32_t> unknown_;
  bool fuses_unknown_, falls_back_to_bytes_, ignores_merges_;
  std::vector<int32_t> byte_ids_;  // of <0x00> to <0xFF>; -1: not there
};

}  // namespace

std::unique_ptr<PieceModel> MakeBytePairModel(const json& model, const std::string& file) {
  json scalars = json::object();
  for (const auto& entry : model.items()) {
    if (!entry.value().is_structured()) scalars[entry.key()] = entry.value();
  }
  const Config options(std::move(scalars), file);
  if (options.Float("dropout", 0.0) != 0.0) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{}: 'dropout' makes ids random; without it the file would work", file));
  }
  return std::make_unique<BytePairModel>(model, options);
}

}  // namespace tessera
