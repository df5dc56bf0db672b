// The flags of a command: each is declared once in a table that parses, checks, reads config files and prints the help.
#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tessera {

enum class FlagKind {
  kBool,     // --flag, --flag True, --flag=false, --no-flag
  kInt,      // whole number in [least, most]
  kFloat,    // finite number in [least, most]
  kString,   // text that is not empty: names, paths
  kText,     // text that may be empty: prompts
  kChoice,   // one of `choices`, in any case
  kStrings,  // several values after one flag; given again, they add up
  kChoices,  // like kStrings, each one of `choices`; a comma separates too
  kInts,     // like kStrings, each in [least, most]; a comma separates too
  kTable,    // --flag.KEY VALUE, --flag KEY=VALUE,KEY=VALUE, or a JSON object; in a config file a nested object
};

// One row; names are written with '-', users may write '_'. Tables are constexpr arrays of rows.
struct Flag {
  std::string_view name;  // without the leading dashes
  FlagKind kind = FlagKind::kText;
  std::string_view help;            // one line
  std::string_view default_text{};  // parsed as if the user had typed it; "" = no value unless given
  std::string_view when_absent{};   // shown in the help instead of a default: "the model's own"
  std::string_view choices{};       // "fp32|fp16|bf16"
  std::string_view value_name{};    // the word that stands for the value in the help: "FILE"
  std::string_view aliases{};       // other names, separated by spaces
  double least = std::numeric_limits<double>::lowest();
  double most = std::numeric_limits<double>::max();
};

struct FlagGroup {
  std::string_view heading;
  std::span<const Flag> flags;
};

// What one command accepts. Every command also takes --help and --config FILE (JSON or YAML; the command line wins).
struct FlagTable {
  std::string_view command;  // "tessera generate"
  std::string_view summary;  // one line
  std::span<const FlagGroup> groups;
  std::string_view positional{};  // the kStrings flag that collects bare words; "" = bare words are errors
};

enum class FlagSource { kDefault, kConfigFile, kCommandLine };

// Parsed values. Asking for a flag the table does not declare, or for another kind, is a bug and aborts.
class FlagValues {
 public:
  bool help_wanted() const noexcept { return help_wanted_; }
  bool Has(std::string_view name) const;  // given, or has a default
  FlagSource GivenBy(std::string_view name) const;

  bool Bool(std::string_view name) const;    // false when absent
  int64_t Int(std::string_view name) const;  // needs Has(name)
  int64_t Int(std::string_view name, int64_t absent) const;
  double Float(std::string_view name) const;  // needs Has(name)
  double Float(std::string_view name, double absent) const;
  const std::string& String(std::string_view name) const;  // kString, kText, kChoice (as declared); "" when absent
  const std::vector<std::string>& Strings(std::string_view name) const;          // kStrings, kChoices
  const std::vector<int64_t>& Ints(std::string_view name) const;                 // kInts
  const std::map<std::string, std::string>& Table(std::string_view name) const;  // kTable

 private:
  friend class FlagStore;
  using Value = std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<std::string>,
                             std::vector<int64_t>, std::map<std::string, std::string>>;
  struct Slot {
    FlagKind kind = FlagKind::kText;
    Value value;
    std::string typed;  // the value as it was written, for messages
    FlagSource source = FlagSource::kDefault;
  };
  const Slot& Find(std::string_view name) const;

  std::map<std::string, Slot, std::less<>> slots_;
  bool help_wanted_ = false;
};

// `arguments`: what follows the command's name. Throws Error{kUsage, kIo, kFormat}.
FlagValues ParseFlags(const FlagTable& table, std::span<const std::string> arguments);

std::string FlagHelp(const FlagTable& table);      // for a terminal
std::string FlagMarkdown(const FlagTable& table);  // for the documentation

}  // namespace tessera
