#include "text/precompiled_map.h"

#include <fmt/format.h>

#include "base/error.h"

namespace tessera {
namespace {

int SixBits(char c) noexcept {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

std::string DecodeBase64(std::string_view text, const std::string& file) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 3);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = SixBits(c);
    if (value < 0) throw Error(ErrorKind::kFormat, fmt::format("{}: 'precompiled_charsmap' is no base64", file));
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xFF));
  }
  return bytes;
}

uint32_t LittleEndian(std::string_view bytes, size_t at) noexcept {
  uint32_t value = 0;
  for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

// A unit of the double array (Yata's darts-clone).
bool HasLeaf(uint32_t unit) noexcept { return (unit >> 8 & 1) != 0; }
uint32_t Value(uint32_t unit) noexcept { return unit & 0x7FFFFFFF; }
uint32_t Label(uint32_t unit) noexcept { return unit & 0x800000FF; }
uint32_t Offset(uint32_t unit) noexcept { return unit >> 10 << ((unit & 1u << 9) >> 6); }

}  // namespace

PrecompiledMap::PrecompiledMap(std::string_view base64, const std::string& file) {
  const std::string bytes = DecodeBase64(base64, file);
  const size_t size = bytes.size() < 4 ? 0 : LittleEndian(bytes, 0);
  if (bytes.size() < 4 || size % 4 != 0 || size == 0 || size > bytes.size() - 4) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: 'precompiled_charsmap' of {} bytes holds no trie of {} bytes",
                                                file, bytes.size(), size));
  }
  for (size_t at = 4; at < 4 + size; at += 4) units_.push_back(LittleEndian(bytes, at));
  replacements_ = bytes.substr(4 + size);
}

// Positions are checked: a file may hold any numbers.
std::optional<std::string_view> PrecompiledMap::Replacement(std::string_view text) const noexcept {
  size_t node = Offset(units_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return std::nullopt;
    node ^= byte;
    if (node >= units_.size() || Label(units_[node]) != byte) return std::nullopt;
    const uint32_t unit = units_[node];
    node ^= Offset(unit);
    if (node >= units_.size()) return std::nullopt;
    if (!HasLeaf(unit)) continue;
    const size_t begin = Value(units_[node]);
    if (begin >= replacements_.size()) return std::string_view();
    const size_t end = std::min(replacements_.find('\0', begin), replacements_.size());
    return std::string_view(replacements_).substr(begin, end - begin);
  }
  return std::nullopt;
}

}  // namespace tessera
