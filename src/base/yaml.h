// YAML from untrusted files as the tree that JSON gives: one document, no anchors, limits on depth, no duplicate keys.
#pragma once
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace tessera {

constexpr int kMostYamlDepth = 16;

// A plain word's value: null, true or false, a whole number, a number, else the word itself.
nlohmann::json TypedScalar(std::string_view word);

// Quoted scalars are strings, plain ones are typed. Throws Error{kFormat} that starts with `file` and names the line.
nlohmann::json ParseYaml(std::string_view bytes, const std::string& file, int most_depth = kMostYamlDepth);

// A .json, .yaml or .yml file of at most 1 MiB. Throws Error{kIo, kFormat, kUsage}.
nlohmann::json ReadJsonOrYaml(const std::string& path);

}  // namespace tessera
