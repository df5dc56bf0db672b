// JSON from untrusted files: limits on depth, no duplicate keys, errors in one line.
#pragma once
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace tessera {

constexpr size_t kMostJsonBytes = 100'000'000;
constexpr int kMostJsonDepth = 64;

// Throws Error{kFormat} that starts with `file` and names line and column: not JSON, not UTF-8, nested deeper than
// `most_depth`, a key twice in one object.
nlohmann::json ParseJson(std::string_view text, const std::string& file, int most_depth = kMostJsonDepth);

// The value for a message: scalars as they are written, cut to a few characters; "an array of 3" or "an object".
std::string DescribeJson(const nlohmann::json& value);

}  // namespace tessera
