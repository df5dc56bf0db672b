#include "text/split_files.h"

#include <map>

#include <fmt/format.h>

#include "base/config.h"
#include "base/error.h"
#include "base/json.h"
#include "base/read_file.h"
#include "base/text.h"
#include "text/vocabulary.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// What transformers builds for a class. "model" holds the fields beside vocabulary and merges.
constexpr const char* kQwen2Rules = R"rules({
  "normalizer": {"type": "NFC"},
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex":
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
    {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
  "model": {"type": "BPE"}})rules";
constexpr const char* kGpt2Rules = R"rules({
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
  "model": {"type": "BPE"}})rules";
constexpr const char* kClipRules = R"rules({
  "normalizer": {"type": "Sequence", "normalizers": [
    {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]},
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "behavior": "Removed", "invert": true, "pattern": {"Regex":
      "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"}},
    {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]},
  "model": {"type": "BPE", "unk_token": "<|endoftext|>", "end_of_word_suffix": "</w>"}})rules";

std::string Text(const fs::path& path) { return Printable(path.string(), 400); }

Config ReadIfThere(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) ? Config::FromFile(path) : Config(json::object(), Text(path));
}

std::string ClassOf(const Config& config) {
  std::string name = config.String("tokenizer_class", "");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  return name;
}

json RulesOf(const Config& config) {
  const std::string name = ClassOf(config);
  if (name == "Qwen2Tokenizer") return json::parse(kQwen2Rules);
  if (name == "GPT2Tokenizer") return json::parse(kGpt2Rules);
  if (name == "CLIPTokenizer") return json::parse(kClipRules);
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{}: there is no tokenizer.json, and the rules of the tokenizer_class '{}' are not known; "
                          "known are Qwen2Tokenizer, GPT2Tokenizer and CLIPTokenizer",
                          config.file(), Printable(name)));
}

json ReadMerges(const fs::path& path) {
  const std::string text = ReadWholeFile(path, kMostJsonBytes);
  if (!IsUtf8(text)) throw Error(ErrorKind::kFormat, fmt::format("{}: not UTF-8", Text(path)));
  json merges = json::array();
  size_t number = 0;
  for (const std::string& ended : Split(text, '\n')) {
    ++number;
    const std::string_view line = ended.ends_with('\r') ? std::string_view(ended).substr(0, ended.size() - 1) : ended;
    if (line.empty() || line.starts_with("#version")) continue;
    const std::vector<std::string> tokens = Split(line, ' ');
    if (tokens.size() != 2) {
      throw Error(ErrorKind::kFormat,
                  fmt::format("{}: line {} must name two tokens, found '{}'", Text(path), number, Printable(line, 40)));
    }
    merges.push_back(tokens);
  }
  return merges;
}

// added_tokens_decoder says everything about a token; added_tokens.json knows ids only.
json ReadAddedTokens(const fs::path& folder, const Config& config) {
  std::map<int64_t, json> tokens;
  const Config ids = ReadIfThere(folder / "added_tokens.json");
  for (const auto& entry : ids.json().items()) {
    const int32_t id = TokenId(entry.value(), entry.key(), ids.file());
    tokens[id] = {{"id", id}, {"content", entry.key()}, {"normalized", false}, {"special", true}};
  }
  const Config decoder = config.Object("added_tokens_decoder");
  for (const auto& entry : decoder.json().items()) {
    const auto id = ParseInt(entry.key());
    if (!id || *id < 0 || *id >= kMostTokens || !entry.value().is_object()) {
      throw Error(ErrorKind::kFormat,
                  fmt::format("{}: '{}' must be an id with an object", decoder.file(), Printable(entry.key())));
    }
    tokens[*id] = entry.value();
    tokens[*id]["id"] = *id;
  }
  json list = json::array();
  for (auto& [id, token] : tokens) list.push_back(std::move(token));
  return list;
}

// The special tokens CLIP puts around a text; the names are those of its configuration.
json ClipFrame(const Config& config, const json& vocab) {
  const auto token = [&](const std::string& key, const std::string& fallback) {
    const auto place = config.json().find(key);
    const bool is_object = place != config.json().end() && place->is_object();
    const std::string name = is_object ? config.Object(key).String("content", fallback) : config.String(key, fallback);
    if (!vocab.contains(name)) {
      throw Error(ErrorKind::kFormat,
                  fmt::format("{}: the {} '{}' is not in the vocabulary", config.file(), key, Printable(name)));
    }
    return json::array({name, vocab.at(name)});
  };
  return {{"type", "RobertaProcessing"},
          {"cls", token("bos_token", "<|startoftext|>")},
          {"sep", token("eos_token", "<|endoftext|>")}};
}

}  // namespace

json JoinSplitFiles(const fs::path& folder) {
  const Config config = ReadIfThere(folder / "tokenizer_config.json");
  json root = RulesOf(config);
  root["model"]["vocab"] = Config::FromFile(folder / "vocab.json").json();
  root["model"]["merges"] = ReadMerges(folder / "merges.txt");
  root["added_tokens"] = ReadAddedTokens(folder, config);
  if (ClassOf(config) == "CLIPTokenizer") root["post_processor"] = ClipFrame(config, root["model"]["vocab"]);
  return root;
}

}  // namespace tessera
