#include <fmt/format.h>
#include <algorithm>

#include "base/text.h"
#include "cli/flags.h"

namespace tessera {
namespace {

constexpr size_t kNameColumn = 38;

std::string ValueName(const Flag& flag) {
  if (!flag.value_name.empty()) return std::string(flag.value_name);
  switch (flag.kind) {
    case FlagKind::kBool:
      return "[true|false]";
    case FlagKind::kInt:
      return "N";
    case FlagKind::kFloat:
      return "X";
    case FlagKind::kString:
      return "NAME";
    case FlagKind::kText:
      return "TEXT";
    case FlagKind::kChoice:
      return std::string(flag.choices);
    case FlagKind::kStrings:
      return "TEXT...";
    case FlagKind::kChoices:
      return std::string(flag.choices) + ",...";
    case FlagKind::kInts:
      return "N,N,...";
    case FlagKind::kTable:
      return "VALUE";
  }
  return "";
}

std::string Spelling(const Flag& flag) {
  if (flag.kind == FlagKind::kTable) return fmt::format("--{0}.KEY {1}, --{0} KEY={1},...", flag.name, ValueName(flag));
  return fmt::format("--{} {}", flag.name, ValueName(flag));
}

// "1 to 8", "at least 0", or ""
std::string Range(const Flag& flag) {
  const Flag open{};
  if (flag.least == open.least && flag.most == open.most) return "";
  if (flag.most == open.most) return fmt::format("at least {}", flag.least);
  if (flag.least == open.least) return fmt::format("at most {}", flag.most);
  return fmt::format("{} to {}", flag.least, flag.most);
}

std::string Default(const Flag& flag) {
  return std::string(flag.default_text.empty() ? flag.when_absent : flag.default_text);
}

// " (1 to 8; default 4)"
std::string Remarks(const Flag& flag) {
  std::vector<std::string> remarks;
  if (const std::string range = Range(flag); !range.empty()) remarks.push_back(range);
  if (const std::string fallback = Default(flag); !fallback.empty()) remarks.push_back("default " + fallback);
  if (!flag.aliases.empty()) remarks.push_back("also --" + Join(Split(flag.aliases, ' '), " --"));
  return remarks.empty() ? "" : fmt::format(" ({})", Join(remarks, "; "));
}

std::string Row(const std::string& left, const std::string& right) {
  const std::string gap = left.size() + 2 < kNameColumn ? "" : "\n" + std::string(kNameColumn + 2, ' ');
  return fmt::format("  {:<{}}{}{}\n", left, gap.empty() ? kNameColumn : 0, gap, right);
}

std::string Cell(std::string_view text) {
  std::string cell;
  for (const char c : text) cell += c == '|' ? std::string("\\|") : std::string(1, c);
  return cell;
}

}  // namespace

std::string FlagHelp(const FlagTable& table) {
  std::string help =
      fmt::format("usage: {} [flags]{}\n{}\n", table.command,
                  table.positional.empty() ? "" : fmt::format(" {}...", table.positional), table.summary);
  for (const FlagGroup& group : table.groups) {
    help += fmt::format("\n{}:\n", group.heading);
    for (const Flag& flag : group.flags) help += Row(Spelling(flag), std::string(flag.help) + Remarks(flag));
  }
  help += "\nalways:\n";
  help += Row("--config FILE", "flags from a JSON or YAML file; the command line wins");
  help += Row("--help", "print this and leave");
  return help;
}

std::string FlagMarkdown(const FlagTable& table) {
  std::string page = fmt::format("## {}\n\n{}\n", table.command, table.summary);
  for (const FlagGroup& group : table.groups) {
    page += fmt::format("\n### {}\n\n| flag | range | default | meaning |\n|---|---|---|---|\n", group.heading);
    for (const Flag& flag : group.flags) {
      page += fmt::format("| `{}` | {} | {} | {} |\n", Cell(Spelling(flag)), Range(flag), Cell(Default(flag)),
                          Cell(flag.help));
    }
  }
  return page;
}

}  // namespace tessera
