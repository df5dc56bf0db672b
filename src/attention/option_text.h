// Options of attention backends as people write them: JSON, YAML or key=value pairs.
#pragma once
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "attention/backend.h"

namespace tessera {

// A JSON object, the name of a .json, .yaml or .yml file, or key=value,... with typed values (true, 3, 0.5, [1, 2],
// "text", {key: value}). `source` ("--attention-backend-config") leads the messages. Throws Error{kUsage, kIo,
// kFormat}; whether a backend knows the keys is checked by ResolveOptions.
Options ParseOptions(const std::string& text, std::string_view source);

// Members of nested objects become "object.member"; nested lists of numbers become one list.
Options OptionsFromJson(const nlohmann::json& tree, std::string_view source);

nlohmann::json OptionsToJson(const Options& options);

// "topk=3,mode=threshold": the options that differ from the defaults of `backend`; "" when all are defaults.
std::string PrintOptions(const AttentionBackend& backend, const Options& options);

std::string PrintOptionValue(const OptionValue& value);

}  // namespace tessera
