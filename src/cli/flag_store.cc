#include "cli/flag_store.h"

#include <fmt/format.h>
#include <algorithm>

#include "base/check.h"
#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

using StringMap = std::map<std::string, std::string>;

[[noreturn]] void Refuse(const FlagOrigin& origin, std::string_view value, std::string_view reason) {
  throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' {}", origin.spelled, Printable(value), reason));
}

std::string Dashed(std::string_view spelled) {
  std::string name(spelled);
  std::replace(name.begin(), name.begin() + static_cast<ptrdiff_t>(std::min(name.find('.'), name.size())), '_', '-');
  return name;
}

// "a whole number from 1 to 8"
std::string Wanted(const Flag& flag) {
  const bool whole = flag.kind != FlagKind::kFloat;
  const std::string noun = whole ? "a whole number" : "a finite number";
  const Flag open{};
  if (flag.least == open.least && flag.most == open.most) return noun;
  if (flag.most == open.most) return fmt::format("{} of at least {}", noun, flag.least);
  if (flag.least == open.least) return fmt::format("{} of at most {}", noun, flag.most);
  return fmt::format("{} from {} to {}", noun, flag.least, flag.most);
}

int64_t IntValue(const Flag& flag, const std::string& text, const FlagOrigin& origin) {
  const auto value = ParseInt(text);
  const bool inside = value && static_cast<double>(*value) >= flag.least && static_cast<double>(*value) <= flag.most;
  if (!inside) Refuse(origin, text, "is not " + Wanted(flag));
  return *value;
}

double FloatValue(const Flag& flag, const std::string& text, const FlagOrigin& origin) {
  const auto value = ParseFloat(text);
  if (!value || *value < flag.least || *value > flag.most) Refuse(origin, text, "is not " + Wanted(flag));
  return *value;
}

bool BoolValue(const std::string& text, const FlagOrigin& origin) {
  const auto value = ParseBool(text);
  if (!value) Refuse(origin, text, "is neither true nor false");
  return *value;
}

std::string ChoiceValue(const Flag& flag, const std::string& text, const FlagOrigin& origin) {
  const std::vector<std::string> choices = Split(flag.choices, '|');
  for (const std::string& choice : choices) {
    if (Lower(choice) == Lower(text)) return choice;
  }
  const auto nearest = Nearest(text, choices);
  Refuse(origin, text,
         fmt::format("is not one of {}{}", Join(choices, ", "), nearest ? "; did you mean " + *nearest : ""));
}

std::string TextValue(const Flag& flag, const ConfigScalar& scalar, const FlagOrigin& origin) {
  if (!IsUtf8(scalar.text)) Refuse(origin, scalar.text, "is not valid UTF-8");
  if (scalar.text.find('\0') != std::string::npos) Refuse(origin, scalar.text, "holds a NUL character");
  if (scalar.text.empty() && flag.kind != FlagKind::kText) Refuse(origin, scalar.text, "is empty, a value is needed");
  const bool typed = scalar.kind == ScalarKind::kNumber || scalar.kind == ScalarKind::kBool;
  if (typed) Refuse(origin, scalar.text, "is not text, put it in quotes");
  return scalar.text;
}

void AddAssignment(const std::string& key, const std::string& value, const FlagOrigin& origin, StringMap& table) {
  if (key.empty() || value.empty()) Refuse(origin, key + "=" + value, "is no KEY=VALUE");
  if (!table.emplace(key, value).second) Refuse(origin, key, "is given twice");
}

// "KEY=VALUE,KEY=VALUE", where a part without '=' goes on with the value before it, or a JSON object.
StringMap ParseAssignments(const Flag& flag, const std::string& text, const FlagOrigin& origin) {
  StringMap table;
  if (Trim(text).starts_with('{')) {
    for (const ConfigEntry& entry : ParseFlagConfig(text, ConfigSyntax::kJson, origin.spelled)) {
      std::vector<std::string> values;
      for (const ConfigScalar& scalar : entry.values) values.push_back(TextValue(flag, scalar, origin));
      AddAssignment(entry.name, Join(values, ","), origin, table);
    }
    if (table.empty()) Refuse(origin, text, "holds no KEY: VALUE");
    return table;
  }
  std::string* last = nullptr;
  for (const std::string& part : Split(text, ',')) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos && last != nullptr) {
      *last += "," + part;
      continue;
    }
    const std::string key(Trim(std::string_view(part).substr(0, equals)));
    const std::string value(equals == std::string::npos ? "" : Trim(std::string_view(part).substr(equals + 1)));
    if (equals == std::string::npos || key.empty() || value.empty()) {
      Refuse(origin, part, fmt::format("is no KEY=VALUE; --{}.KEY VALUE works, too", flag.name));
    }
    AddAssignment(key, value, origin, table);
    last = &table[key];
  }
  return table;
}

bool SplitsAtCommas(FlagKind kind) { return kind == FlagKind::kInts || kind == FlagKind::kChoices; }

std::vector<ConfigScalar> Parts(const Flag& flag, std::span<const ConfigScalar> values) {
  std::vector<ConfigScalar> parts;
  for (const ConfigScalar& value : values) {
    if (!SplitsAtCommas(flag.kind)) {
      parts.push_back(value);
      continue;
    }
    for (const std::string& part : Split(value.text, ',')) parts.push_back({std::string(Trim(part)), value.kind});
  }
  return parts;
}

std::string Typed(std::span<const ConfigScalar> values) {
  std::string typed;
  for (const ConfigScalar& value : values) typed += (typed.empty() ? "" : " ") + value.text;
  return typed;
}

}  // namespace

bool TakesSeveral(FlagKind kind) noexcept {
  return kind == FlagKind::kStrings || kind == FlagKind::kChoices || kind == FlagKind::kInts;
}

FlagIndex::FlagIndex(const FlagTable& table) {
  for (const FlagGroup& group : table.groups) {
    for (const Flag& flag : group.flags) {
      TESSERA_CHECK(rows_.emplace(flag.name, &flag).second);
      for (const std::string& alias : Split(flag.aliases, ' ')) {
        if (!alias.empty()) TESSERA_CHECK(rows_.emplace(alias, &flag).second);
      }
    }
  }
}

FlagMatch FlagIndex::Find(std::string_view spelled) const {
  const std::string name = Dashed(spelled);
  const size_t dot = name.find('.');
  const auto row = rows_.find(name.substr(0, dot));
  if (row == rows_.end()) return {};
  const bool keyed = dot != std::string::npos && dot + 1 < name.size();
  const bool is_table = row->second->kind == FlagKind::kTable;
  if ((keyed && !is_table) || (dot != std::string::npos && !keyed)) return {};
  return {row->second, keyed ? name.substr(dot + 1) : ""};
}

std::string FlagIndex::Suggestion(std::string_view spelled) const {
  const std::string name = Lower(Dashed(spelled));
  std::vector<std::string> names{"config", "help"};
  for (const auto& [known, flag] : rows_) {
    if (flag->kind != FlagKind::kTable) names.push_back(known);
    if (name.size() >= 4 && known.starts_with(name) && flag->kind != FlagKind::kTable) return known;
  }
  return Nearest(name, names).value_or("");
}

FlagStore::FlagStore(const FlagTable& table) {
  for (const FlagGroup& group : table.groups) {
    for (const Flag& flag : group.flags) {
      values_.slots_[std::string(flag.name)].kind = flag.kind;
      if (flag.default_text.empty()) continue;
      const ConfigScalar text{std::string(flag.default_text), ScalarKind::kUntyped};
      Give({&flag, ""}, {&text, 1}, {FlagSource::kDefault, "the default of --" + std::string(flag.name)});
    }
  }
}

void FlagStore::Give(const FlagMatch& match, std::span<const ConfigScalar> values, const FlagOrigin& origin) {
  const Flag& flag = *match.flag;
  if (values.empty() || (values.size() > 1 && !TakesSeveral(flag.kind))) {
    Refuse(origin, Typed(values), values.empty() ? "is empty, a value is needed" : "is a list, one value is needed");
  }
  FlagValues::Slot parsed{flag.kind, {}, Typed(values), origin.source};
  const std::string& first = values[0].text;
  std::vector<std::string> texts;
  std::vector<int64_t> ints;
  for (const ConfigScalar& part : Parts(flag, values)) {
    if (flag.kind == FlagKind::kInts) ints.push_back(IntValue(flag, part.text, origin));
    if (flag.kind == FlagKind::kChoices) texts.push_back(ChoiceValue(flag, part.text, origin));
    if (flag.kind == FlagKind::kStrings) texts.push_back(TextValue(flag, part, origin));
  }
  switch (flag.kind) {
    case FlagKind::kBool:
      parsed.value = BoolValue(first, origin);
      break;
    case FlagKind::kInt:
      parsed.value = IntValue(flag, first, origin);
      break;
    case FlagKind::kFloat:
      parsed.value = FloatValue(flag, first, origin);
      break;
    case FlagKind::kString:
    case FlagKind::kText:
      parsed.value = TextValue(flag, values[0], origin);
      break;
    case FlagKind::kChoice:
      parsed.value = ChoiceValue(flag, first, origin);
      break;
    case FlagKind::kStrings:
    case FlagKind::kChoices:
      parsed.value = std::move(texts);
      break;
    case FlagKind::kInts:
      parsed.value = std::move(ints);
      break;
    case FlagKind::kTable:
      parsed.value = match.key.empty() ? ParseAssignments(flag, TextValue(flag, values[0], origin), origin)
                                       : StringMap{{match.key, TextValue(flag, values[0], origin)}};
      break;
  }
  Store(match, std::move(parsed), origin);
}

namespace {

template <typename List>
void Append(List& list, List&& more) {
  list.insert(list.end(), more.begin(), more.end());
}

[[noreturn]] void RefuseTwice(const FlagOrigin& origin, std::string_view before, std::string_view now) {
  throw Error(ErrorKind::kUsage, fmt::format("{}: given twice with different values, '{}' and '{}'", origin.spelled,
                                             Printable(before, 60), Printable(now, 60)));
}

}  // namespace

// The sources arrive in the order default, command line, config file.
void FlagStore::Store(const FlagMatch& match, FlagValues::Slot parsed, const FlagOrigin& origin) {
  FlagValues::Slot& slot = values_.slots_[std::string(match.flag->name)];
  const bool again = slot.source == parsed.source && parsed.source != FlagSource::kDefault;
  if (auto* table = std::get_if<StringMap>(&slot.value); table && slot.source != FlagSource::kDefault) {
    for (const auto& [key, now] : std::get<StringMap>(parsed.value)) {
      const auto [member, added] = table->emplace(key, now);
      if (again && !added && member->second != now) RefuseTwice(origin, member->second, now);
    }
  } else if (slot.source == FlagSource::kCommandLine && !again) {
    return;
  } else if (again && std::holds_alternative<std::vector<std::string>>(slot.value)) {
    Append(std::get<std::vector<std::string>>(slot.value), std::get<std::vector<std::string>>(std::move(parsed.value)));
  } else if (again && std::holds_alternative<std::vector<int64_t>>(slot.value)) {
    Append(std::get<std::vector<int64_t>>(slot.value), std::get<std::vector<int64_t>>(std::move(parsed.value)));
  } else if (again && slot.value != parsed.value) {
    RefuseTwice(origin, slot.typed, parsed.typed);
  } else {
    slot = std::move(parsed);
  }
}

}  // namespace tessera
