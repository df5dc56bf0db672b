#include "text/tokenizer.h"

#include <fmt/format.h>

#include "base/config.h"
#include "base/error.h"
#include "base/json.h"
#include "base/read_file.h"
#include "base/text.h"
#include "text/json_tokenizer.h"
#include "text/split_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::string Text(const fs::path& path) { return Printable(path.string(), 400); }

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// "<pad>" or {"content": "<pad>", ...}; "" when there is none.
std::string PaddingToken(const fs::path& file) {
  if (!Exists(file)) return "";
  const Config config = Config::FromFile(file);
  const auto token = config.json().find("pad_token");
  const bool is_object = token != config.json().end() && token->is_object();
  return is_object ? config.Object("pad_token").String("content", "") : config.String("pad_token", "");
}

}  // namespace

std::unique_ptr<Tokenizer> LoadTokenizer(const fs::path& folder) {
  const fs::path file = folder / "tokenizer.json";
  if (Exists(file)) return MakeJsonTokenizer(ParseJson(ReadWholeFile(file, kMostJsonBytes), Text(file)), Text(file));
  if (Exists(folder / "vocab.json") || Exists(folder / "merges.txt")) {
    return MakeJsonTokenizer(JoinSplitFiles(folder), Text(folder));
  }
  throw Error(
      ErrorKind::kIo,
      fmt::format("no tokenizer in '{}': it has neither tokenizer.json nor vocab.json with merges.txt", Text(folder)));
}

int32_t PaddingId(const fs::path& folder, const Tokenizer& tokenizer) {
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const std::string token = PaddingToken(folder / name);
    if (token.empty()) continue;
    if (const auto id = tokenizer.IdOf(token)) return *id;
    throw Error(ErrorKind::kFormat, fmt::format("{}: the pad_token '{}' is not a token of the tokenizer",
                                                Text(folder / name), Printable(token)));
  }
  throw Error(ErrorKind::kFormat, fmt::format("no padding token in '{}': neither tokenizer_config.json nor "
                                              "special_tokens_map.json has a pad_token",
                                              Text(folder)));
}

PromptTokens PadRight(std::vector<int32_t> ids, int64_t length, int32_t padding_id) {
  PromptTokens tokens;
  tokens.valid = std::min(length, static_cast<int64_t>(ids.size()));
  tokens.input_ids = std::move(ids);
  tokens.input_ids.resize(static_cast<size_t>(length), padding_id);
  return tokens;
}

}  // namespace tessera
