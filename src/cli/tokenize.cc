// tessera tokenize: the tokens a model's tokenizer makes of a text.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "models/family.h"
#include "pipeline/demo_model.h"
#include "text/tokenizer.h"
#include "weights/model_folder.h"

namespace tessera {
namespace {

constexpr Flag kFlags[] = {
    {"model-path", FlagKind::kString, "a model folder, or a hub name in the local cache", "", "the built-in demo model",
     "", "MODEL", "model"},
    {"revision", FlagKind::kString, "branch, tag or commit of a hub name", "main"},
    {"text", FlagKind::kStrings, "the text, also as a bare word", "", "", "", "TEXT"},
    {"file", FlagKind::kString, "read the text from a file; - reads standard input", "", "", "", "FILE"},
    {"as-prompt", FlagKind::kBool, "wrap the text into the model's chat template first, as generate does"},
    {"json", FlagKind::kBool, "print {\"ids\": [...], \"pieces\": [...]}"},
};
constexpr FlagGroup kGroups[] = {{"Flags", kFlags}};
constexpr FlagTable kTable{"tessera tokenize", "show the tokens of a text", kGroups, "text"};
constexpr size_t kLargestText = size_t{64} << 20;

std::string ReadText(const std::string& path) {
  std::ifstream file;
  if (path != "-") file.open(path, std::ios::binary);
  if (path != "-" && (!file || std::filesystem::is_directory(path))) {
    throw Error(ErrorKind::kIo, fmt::format("--file {}: cannot be read", Printable(path)));
  }
  std::istream& stream = path == "-" ? std::cin : file;
  std::string text(std::istreambuf_iterator<char>(stream), {});
  if (text.size() > kLargestText)
    throw Error(ErrorKind::kUsage, fmt::format("--file {}: is too large", Printable(path)));
  return text;
}

std::string TextOf(const FlagValues& values) {
  if (values.Has("file") == values.Has("text")) throw Error(ErrorKind::kUsage, "give a text, or --file FILE");
  const std::string text = values.Has("file") ? ReadText(values.String("file")) : Join(values.Strings("text"), " ");
  if (!IsUtf8(text)) throw Error(ErrorKind::kUsage, fmt::format("text '{}': is not valid UTF-8", Printable(text, 60)));
  return text;
}

void PrintTokens(const std::vector<int32_t>& ids, const Tokenizer& tokenizer) {
  for (const int32_t id : ids)
    std::fputs(fmt::format("{:>8}  {}\n", id, Printable(tokenizer.PieceOf(id))).c_str(), stdout);
  std::fputs(fmt::format("{} tokens\n", ids.size()).c_str(), stdout);
}

void PrintJson(const std::vector<int32_t>& ids, const Tokenizer& tokenizer) {
  nlohmann::json json = {{"ids", ids}, {"pieces", nlohmann::json::array()}};
  for (const int32_t id : ids) json["pieces"].push_back(tokenizer.PieceOf(id));
  std::fputs((json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n").c_str(), stdout);
}

}  // namespace

int TokenizeCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(kTable, arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(kTable).c_str(), stdout);
    return 0;
  }
  std::string text = TextOf(values);
  const std::string model = values.Has("model-path") ? values.String("model-path") : DemoModelPath().string();
  const ModelFolder folder = ModelFolder::Open(model, values.String("revision"));
  if (values.Bool("as-prompt")) text = OpenModelFamily(folder)->TextTasks(text, 1).front().text;
  const auto tokenizer = LoadTokenizer(folder.path() / "tokenizer");
  const std::vector<int32_t> ids = tokenizer->Encode(text);
  values.Bool("json") ? PrintJson(ids, *tokenizer) : PrintTokens(ids, *tokenizer);
  return 0;
}

}  // namespace tessera
