#include "text/json_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/piece_model.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_part.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace tessera {
namespace {

using nlohmann::json;

const json& ModelOf(const json& root, const std::string& file) {
  if (!root.is_object()) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: expected a JSON object, found {}", file, DescribeJson(root)));
  }
  const auto model = root.find("model");
  if (model == root.end() || !model->is_object()) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: 'model' must be an object", file));
  }
  return *model;
}

// A part that is null or absent does nothing.
std::optional<Config> PartAt(const json& root, const char* key, const std::string& file) {
  const auto place = root.find(key);
  if (place == root.end() || place->is_null()) return std::nullopt;
  if (!place->is_object()) {
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: '{}' must be an object, found {}", file, key, DescribeJson(*place)));
  }
  return Config(*place, fmt::format("{} ({})", file, key));
}

AddedToken ReadAddedToken(const Config& part) {
  if (!part.json().contains("id") || !part.Has("content")) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: an added token needs 'id' and 'content'", part.file()));
  }
  AddedToken token;
  token.content = part.String("content", "");
  token.id = TokenId(part.json().at("id"), token.content, part.file());
  token.single_word = part.Bool("single_word", false);
  token.lstrip = part.Bool("lstrip", false);
  token.rstrip = part.Bool("rstrip", false);
  token.normalized = part.Bool("normalized", !part.Bool("special", false));
  return token;
}

class JsonTokenizer final : public Tokenizer {
 public:
  JsonTokenizer(const json& root, const std::string& file)
      : model_(MakePieceModel(ModelOf(root, file), file + " (model)")), id_limit_(model_->id_limit()) {
    if (const auto part = PartAt(root, "normalizer", file)) normalizer_ = MakeNormalizer(*part);
    if (const auto part = PartAt(root, "pre_tokenizer", file)) pre_tokenizer_ = MakePreTokenizer(*part);
    if (root.contains("added_tokens")) ReadAddedTokens(Config(json{{"added_tokens", root.at("added_tokens")}}, file));
    if (const auto part = PartAt(root, "post_processor", file)) frame_ = ReadSpecialFrame(*part, id_limit_);
  }

  std::vector<int32_t> Encode(std::string_view text, SpecialTokens special_tokens) const override {
    const bool framed = special_tokens == SpecialTokens::kAdd;
    std::vector<int32_t> ids;
    if (framed) ids = frame_.before;
    const std::string valid = ReplaceInvalidUtf8(text);
    for (const TokenOrText& part : raw_tokens_.Split(valid)) {
      if (part.id >= 0) {
        ids.push_back(part.id);
      } else {
        AppendNormalized(std::string_view(valid).substr(part.begin, part.end - part.begin), part.begin == 0, ids);
      }
    }
    if (framed) ids.insert(ids.end(), frame_.behind.begin(), frame_.behind.end());
    return ids;
  }

  std::vector<int32_t> EncodeAtMost(std::string_view text, int64_t most) const override {
    const auto frame = static_cast<int64_t>(frame_.before.size() + frame_.behind.size());
    std::vector<int32_t> ids = Encode(text, SpecialTokens::kLeaveOut);
    ids.resize(static_cast<size_t>(std::clamp<int64_t>(most - frame, 0, static_cast<int64_t>(ids.size()))));
    ids.insert(ids.begin(), frame_.before.begin(), frame_.before.end());
    ids.insert(ids.end(), frame_.behind.begin(), frame_.behind.end());
    return ids;
  }

  std::string PieceOf(int32_t id) const override {
    const auto added = added_contents_.find(id);
    return added != added_contents_.end() ? added->second : std::string(model_->TokenOf(id));
  }

  std::optional<int32_t> IdOf(std::string_view piece) const override {
    const auto added = added_ids_.find(std::string(piece));
    return added != added_ids_.end() ? std::optional(added->second) : model_->IdOf(piece);
  }

  int64_t vocabulary_size() const override { return id_limit_; }

 private:
  void ReadAddedTokens(const Config& root) {
    for (const Config& part : PartsOf(root, "added_tokens")) {
      const AddedToken token = ReadAddedToken(part);
      if (token.content.empty()) continue;  // as the original does
      CheckAddedToken(token, part.file());
      added_ids_.emplace(token.content, token.id);
      added_contents_.emplace(token.id, token.content);
      id_limit_ = std::max(id_limit_, token.id + 1);
      if (!token.normalized) {
        raw_tokens_.Add(token, token.content);
      } else {
        normalized_tokens_.Add(token, normalizer_ ? normalizer_->Apply(token.content) : token.content);
      }
    }
  }

  // A token of the vocabulary keeps its id; an id belongs to one token.
  void CheckAddedToken(const AddedToken& token, const std::string& file) const {
    const auto refuse = [&](const std::string& reason) {
      throw Error(ErrorKind::kFormat, fmt::format("{}: the added token '{}' has the id {}, but {}", file,
                                                  Printable(token.content), token.id, reason));
    };
    if (const auto id = IdOf(token.content); id && *id != token.id)
      refuse(fmt::format("it is already there as {}", *id));
    const std::string other = PieceOf(token.id);
    if (!other.empty() && other != token.content) refuse(fmt::format("that is the id of '{}'", Printable(other)));
    if (added_ids_.contains(token.content)) refuse("it is there twice");
  }

  void AppendNormalized(std::string_view text, bool begins_prompt, std::vector<int32_t>& ids) const {
    const std::string normalized = normalizer_ ? normalizer_->Apply(text) : std::string(text);
    for (const TokenOrText& part : normalized_tokens_.Split(normalized)) {
      if (part.id >= 0) {
        ids.push_back(part.id);
        continue;
      }
      std::vector<TextPiece> pieces{
          {normalized.substr(part.begin, part.end - part.begin), begins_prompt && part.begin == 0}};
      if (pre_tokenizer_) pieces = pre_tokenizer_->Apply(std::move(pieces));
      for (const TextPiece& piece : pieces) model_->Append(piece.text, ids);
    }
  }

  std::unique_ptr<PieceModel> model_;
  std::unique_ptr<Normalizer> normalizer_;       // none: text stays as it is
  std::unique_ptr<PreTokenizer> pre_tokenizer_;  // none: one piece
  AddedTokenFinder raw_tokens_, normalized_tokens_;
  std::unordered_map<std::string, int32_t> added_ids_;
  std::unordered_map<int32_t, std::string> added_contents_;
  SpecialFrame frame_;
  int32_t id_limit_;
};

}  // namespace

std::unique_ptr<Tokenizer> MakeJsonTokenizer(const json& root, const std::string& file) {
  return std::make_unique<JsonTokenizer>(root, file);
}

}  // namespace tessera
