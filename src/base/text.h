// Small text functions shared by messages, parsers and tables.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

std::string Lower(std::string_view text);
std::string_view Trim(std::string_view text);
std::vector<std::string> Split(std::string_view text, char separator);  // keeps empty parts
std::string Join(std::span<const std::string> parts, std::string_view separator);

// The candidate with the smallest edit distance to `word`, or nothing when none is near.
std::optional<std::string> Nearest(std::string_view word, std::span<const std::string> candidates);

// Whole-string numbers: no white space, no rest, no overflow, finite. Nothing on failure.
std::optional<int64_t> ParseInt(std::string_view text);
std::optional<double> ParseFloat(std::string_view text);
std::optional<bool> ParseBool(std::string_view text);  // true/false in any case, also 1/0, yes/no, on/off

bool IsUtf8(std::string_view text);

// Text fit for a one-line message: control characters and invalid bytes escaped as \xNN, cut to `limit` bytes.
std::string Printable(std::string_view text, size_t limit = 120);

std::string FormatBytes(double bytes);      // "7.22 GiB"
std::string FormatSeconds(double seconds);  // "850 ms", "12.3 s", "2 min 5 s"

}  // namespace tessera
