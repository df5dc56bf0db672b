// Config files of flags: JSON or YAML, flattened to names and scalars.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

enum class ScalarKind { kUntyped, kText, kNumber, kBool };  // kUntyped: a plain YAML word, any of the others

struct ConfigScalar {
  std::string text;
  ScalarKind kind = ScalarKind::kUntyped;
};

// `name: value`, `name: [values]`, or one member of `name: {key: value}`, which arrives as "name.key".
struct ConfigEntry {
  std::string name;
  std::vector<ConfigScalar> values;
  bool is_list = false;
};

enum class ConfigSyntax { kJson, kYaml };

// Entries in file order without those that are null. `file` is named in messages. Throws Error{kFormat}: syntax, a name
// given twice, values nested deeper than that, YAML anchors, aliases and second documents.
std::vector<ConfigEntry> ParseFlagConfig(std::string_view bytes, ConfigSyntax syntax, std::string_view file);

// Reads a .json, .yaml or .yml file of at most 1 MiB. Throws Error{kIo, kFormat, kUsage}.
std::vector<ConfigEntry> ReadFlagConfig(const std::string& path);

}  // namespace tessera
