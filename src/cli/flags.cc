
#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/flag_config.h"
#include "cli/flag_store.h"

namespace tessera {
namespace {

[[noreturn]] void Refuse(const std::string& message) { throw Error(ErrorKind::kUsage, message); }

bool LooksLikeFlag(std::string_view word) { return (word.starts_with("--") && word.size() > 2) || word == "-h"; }

// One "--name", "--name=value" split up.
struct Word {
  std::string dashed;  // "--name"
  std::string name;    // "name"
  std::vector<ConfigScalar> values;
  bool has_value = false;  // written with '='
};

Word SplitWord(std::string_view text) {
  const size_t equals = text.find('=');
  Word word{std::string(text.substr(0, equals)), std::string(text.substr(2, equals - 2)), {}, false};
  if (equals != std::string_view::npos) {
    word.has_value = true;
    word.values.push_back({std::string(text.substr(equals + 1)), ScalarKind::kUntyped});
  }
  return word;
}

class CommandLine {
 public:
  CommandLine(const FlagTable& table, std::span<const std::string> words)
      : table_(table), index_(table), words_(words), store_(table) {}

  FlagValues Parse() {
    for (const std::string& word : words_) {
      if (word == "--help" || word == "-h") {
        store_.SetHelpWanted();
        return std::move(store_).Take();
      }
    }
    while (next_ < words_.size()) ParseWord();
    if (!config_.empty()) ReadConfig();
    return std::move(store_).Take();
  }

 private:
  void ParseWord() {
    const std::string& text = words_[next_++];
    if (!LooksLikeFlag(text)) return ParsePositional(text);
    Word word = SplitWord(text);
    if (word.name == "config") return ParseConfig(word);
    FlagMatch match = index_.Find(word.name);
    if (match.flag == nullptr && ParseNegated(word)) return;
    if (match.flag == nullptr) RefuseUnknown(word);
    TakeValues(*match.flag, word);
    store_.Give(match, word.values, {FlagSource::kCommandLine, Printable(word.dashed)});
  }

  void ParsePositional(const std::string& text) {
    if (!table_.positional.empty()) {
      const ConfigScalar value{text, ScalarKind::kUntyped};
      return store_.Give(index_.Find(table_.positional), {&value, 1},
                         {FlagSource::kCommandLine, std::string(table_.command)});
    }
    const std::string suggestion = text.starts_with('-') ? index_.Suggestion(text.substr(1)) : "";
    Refuse(fmt::format("'{}' is not expected here, {}", Printable(text),
                       suggestion.empty() ? "every value needs its flag, see --help" : "did you mean --" + suggestion));
  }

  void ParseConfig(Word& word) {
    static constexpr Flag kConfig{.name = "config", .kind = FlagKind::kString, .help = ""};
    TakeValues(kConfig, word);
    const std::string& path = word.values[0].text;
    if (path.empty() || !IsUtf8(path)) Refuse(fmt::format("--config: '{}' is not a file name", Printable(path)));
    if (!config_.empty() && config_ != path) Refuse("--config: given twice, one file is needed");
    config_ = path;
  }

  // --no-flag of a bool flag.
  bool ParseNegated(const Word& word) {
    if (!word.name.starts_with("no-") && !word.name.starts_with("no_")) return false;
    const FlagMatch match = index_.Find(word.name.substr(3));
    if (match.flag == nullptr || match.flag->kind != FlagKind::kBool) return false;
    if (word.has_value) Refuse(fmt::format("{}: takes no value", Printable(word.dashed)));
    const ConfigScalar value{"false", ScalarKind::kUntyped};
    store_.Give(match, {&value, 1}, {FlagSource::kCommandLine, "--" + std::string(match.flag->name)});
    return true;
  }

  void TakeValues(const Flag& flag, Word& word) {
    if (word.has_value) return;
    const auto more = [&] { return next_ < words_.size() && !LooksLikeFlag(words_[next_]); };
    const auto take = [&] { word.values.push_back({words_[next_++], ScalarKind::kUntyped}); };
    if (flag.kind == FlagKind::kBool) {
      if (more() && ParseBool(words_[next_])) return take();
      word.values.push_back({"true", ScalarKind::kUntyped});
      return;
    }
    if (more()) take();
    while (TakesSeveral(flag.kind) && more()) take();
    if (!word.values.empty()) return;
    if (next_ == words_.size()) Refuse(fmt::format("{}: a value is missing", Printable(word.dashed)));
    Refuse(fmt::format("{0}: a value is missing, '{1}' is a flag (a value that starts with dashes is written {0}={1})",
                       Printable(word.dashed), Printable(words_[next_])));
  }

  [[noreturn]] void RefuseUnknown(const Word& word) const {
    if (word.name.ends_with('.') && index_.Find(word.name + "key").flag != nullptr) {
      Refuse(fmt::format("{0}: a key is missing, as in {0}KEY VALUE", Printable(word.dashed)));
    }
    const std::string suggestion = index_.Suggestion(word.name);
    Refuse(fmt::format("{}: unknown flag of '{}', {}", Printable(word.dashed), table_.command,
                       suggestion.empty() ? "see --help" : "did you mean --" + suggestion));
  }

  void ReadConfig() {
    for (const ConfigEntry& entry : ReadFlagConfig(config_)) {
      const std::string spelled = Printable(config_) + ": " + Printable(entry.name);
      const FlagMatch match = index_.Find(entry.name);
      if (match.flag == nullptr) {
        const std::string suggestion = index_.Suggestion(entry.name);
        Refuse(fmt::format("{}: unknown flag of '{}', {}", spelled, table_.command,
                           suggestion.empty() ? "see --help" : "did you mean " + suggestion));
      }
      if (entry.is_list && !TakesSeveral(match.flag->kind)) Refuse(spelled + ": is a list, one value is needed");
      store_.Give(match, entry.values, {FlagSource::kConfigFile, spelled});
    }
  }

  const FlagTable& table_;
  const FlagIndex index_;
  const std::span<const std::string> words_;
  FlagStore store_;
  std::string config_;
  size_t next_ = 0;
};

template <typename T>
const T& Typed(const auto& value) {
  static const T kNone{};
  const T* typed = std::get_if<T>(&value);
  return typed != nullptr ? *typed : kNone;
}

}  // namespace

const FlagValues::Slot& FlagValues::Find(std::string_view name) const {
  const auto slot = slots_.find(name);
  TESSERA_CHECK(slot != slots_.end());
  return slot->second;
}

bool FlagValues::Has(std::string_view name) const { return Find(name).value.index() != 0; }

FlagSource FlagValues::GivenBy(std::string_view name) const { return Find(name).source; }

bool FlagValues::Bool(std::string_view name) const {
  TESSERA_CHECK(Find(name).kind == FlagKind::kBool);
  return Has(name) && std::get<bool>(Find(name).value);
}

int64_t FlagValues::Int(std::string_view name) const {
  TESSERA_CHECK(Find(name).kind == FlagKind::kInt && Has(name));
  return std::get<int64_t>(Find(name).value);
}

int64_t FlagValues::Int(std::string_view name, int64_t absent) const { return Has(name) ? Int(name) : absent; }

double FlagValues::Float(std::string_view name) const {
  TESSERA_CHECK(Find(name).kind == FlagKind::kFloat && Has(name));
  return std::get<double>(Find(name).value);
}

double FlagValues::Float(std::string_view name, double absent) const { return Has(name) ? Float(name) : absent; }

const std::string& FlagValues::String(std::string_view name) const {
  const FlagKind kind = Find(name).kind;
  TESSERA_CHECK(kind == FlagKind::kString || kind == FlagKind::kText || kind == FlagKind::kChoice);
  return Typed<std::string>(Find(name).value);
}

const std::vector<std::string>& FlagValues::Strings(std::string_view name) const {
  TESSERA_CHECK(Find(name).kind == FlagKind::kStrings || Find(name).kind == FlagKind::kChoices);
  return Typed<std::vector<std::string>>(Find(name).value);
}

const std::vector<int64_t>& FlagValues::Ints(std::string_view name) const {
  TESSERA_CHECK(Find(name).kind == FlagKind::kInts);
  return Typed<std::vector<int64_t>>(Find(name).value);
}

const std::map<std::string, std::string>& FlagValues::Table(std::string_view name) const {
  TESSERA_CHECK(Find(name).kind == FlagKind::kTable);
  return Typed<std::map<std::string, std::string>>(Find(name).value);
}

FlagValues ParseFlags(const FlagTable& table, std::span<const std::string> arguments) {
  return CommandLine(table, arguments).Parse();
}

}  // namespace tessera
