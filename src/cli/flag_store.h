// Checks values against their rows and puts them into FlagValues; shared by the command line and config files.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/flag_config.h"
#include "cli/flags.h"

namespace tessera {

bool TakesSeveral(FlagKind kind) noexcept;

// A row and, for kTable, the key after the dot.
struct FlagMatch {
  const Flag* flag = nullptr;
  std::string key;
};

// The rows of a table by every accepted spelling: '-' or '_', aliases, "name.key" for tables.
class FlagIndex {
 public:
  explicit FlagIndex(const FlagTable& table);
  FlagMatch Find(std::string_view spelled) const;          // no leading dashes; flag == nullptr when unknown
  std::string Suggestion(std::string_view spelled) const;  // the nearest name, or ""

 private:
  std::map<std::string, const Flag*, std::less<>> rows_;
};

// Where a value came from; `spelled` leads the messages: "--height", "run.yaml: height".
struct FlagOrigin {
  FlagSource source = FlagSource::kDefault;
  std::string spelled;
};

class FlagStore {
 public:
  explicit FlagStore(const FlagTable& table);  // with every default
  // Throws Error{kUsage} for values the row does not accept. A config file never replaces the command line.
  void Give(const FlagMatch& match, std::span<const ConfigScalar> values, const FlagOrigin& origin);
  void SetHelpWanted() noexcept { values_.help_wanted_ = true; }
  const FlagValues& values() const noexcept { return values_; }
  FlagValues Take() && { return std::move(values_); }

 private:
  void Store(const FlagMatch& match, FlagValues::Slot parsed, const FlagOrigin& origin);
  FlagValues values_;
};

}  // namespace tessera
