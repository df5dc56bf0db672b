// What the parts of a tokenizer.json are built from: a JSON object that knows its place in the file.
#pragma once
#include <memory>
#include <string>

#include "base/config.h"
#include "text/pattern.h"

namespace tessera {

// `part` as it is at `key` of `parent`; its messages name the place. Throws Error{kFormat} unless it is an object.
Config PartOf(const Config& parent, const std::string& key);
// The members of an array of objects. Throws Error{kFormat}.
std::vector<Config> PartsOf(const Config& parent, const std::string& key);
// Throws Error{kFormat} when "type" is missing.
std::string TypeOf(const Config& part);
[[noreturn]] void RefuseType(const Config& part, const std::string& what, const std::string& known);

// {"String": "..."} or {"Regex": "..."} at `key`.
std::unique_ptr<Pattern> PatternOf(const Config& part, const std::string& key);

}  // namespace tessera
