#include "media/exif.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/text.h"
#include "media/unicode.h"

namespace tessera {
namespace {

constexpr uint16_t kImageDescription = 0x010E, kOrientation = 0x0112, kExifFolder = 0x8769, kUserComment = 0x9286;
constexpr uint16_t kAscii = 2, kShort = 3, kLong = 4, kUndefined = 7;
constexpr size_t kHeaderBytes = 8, kEntryBytes = 12;
constexpr size_t kMostText = size_t{1} << 22;
// Character codes of a user comment, 8 bytes each.
constexpr std::string_view kUnicode("UNICODE\0", 8), kAsciiCode("ASCII\0\0\0", 8), kUnknownCode("\0\0\0\0\0\0\0\0", 8);

// Reads numbers of either byte order; outside the block everything is absent.
class TiffReader {
 public:
  explicit TiffReader(std::string_view block) : block_(block), little_(block.starts_with("II")) {
    if (!little_ && !block.starts_with("MM")) block_ = {};
  }
  bool little() const noexcept { return little_; }

  std::optional<uint32_t> Number(size_t offset, size_t bytes) const {
    if (offset > block_.size() || block_.size() - offset < bytes) return std::nullopt;
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; ++i) {
      const size_t place = little_ ? offset + bytes - 1 - i : offset + i;
      value = value << 8 | static_cast<unsigned char>(block_[place]);
    }
    return value;
  }

  // The offset of a tag's 12-byte entry in the folder at `folder`.
  std::optional<size_t> FindEntry(std::optional<uint32_t> folder, uint16_t tag) const {
    if (!folder) return std::nullopt;
    const uint32_t count = Number(*folder, 2).value_or(0);
    for (uint32_t i = 0; i < count; ++i) {
      const size_t entry = size_t{*folder} + 2 + i * kEntryBytes;
      const auto found = Number(entry, 2);
      if (!found) return std::nullopt;
      if (*found == tag) return entry;
    }
    return std::nullopt;
  }

  // The value of an entry of single bytes (ASCII, UNDEFINED).
  std::string_view Bytes(size_t entry) const {
    const size_t count = Number(entry + 4, 4).value_or(0);
    const size_t offset = count <= 4 ? entry + 8 : Number(entry + 8, 4).value_or(0);
    if (count > kMostText || offset > block_.size() || block_.size() - offset < count) return {};
    return block_.substr(offset, count);
  }

  std::optional<uint32_t> FirstFolder() const { return Number(4, 4); }

 private:
  std::string_view block_;
  bool little_;
};

std::string_view UntilNul(std::string_view text) { return text.substr(0, text.find('\0')); }

std::string Utf8Or(std::string_view text) { return IsUtf8(text) ? std::string(text) : Latin1ToUtf8(text); }

// The specification leaves the byte order open: without a mark, the half of the code units whose upper bytes are zero
// more often tells it, because prompts are mostly ASCII; a tie follows the block.
bool IsLittleEndian(std::string_view text, bool block_is_little) {
  if (text.starts_with("\xFF\xFE")) return true;
  if (text.starts_with("\xFE\xFF")) return false;
  int64_t zeros_in_odd_places = 0;
  for (size_t i = 0; i + 1 < text.size(); i += 2) zeros_in_odd_places += (text[i + 1] == 0) - (text[i] == 0);
  return zeros_in_odd_places == 0 ? block_is_little : zeros_in_odd_places > 0;
}

std::string Comment(std::string_view value, bool block_is_little) {
  if (value.size() < kUnicode.size()) return "";
  const std::string_view code = value.substr(0, kUnicode.size());
  std::string_view text = value.substr(kUnicode.size());
  if (code != kUnicode) return code == kAsciiCode || code == kUnknownCode ? Utf8Or(UntilNul(text)) : "";
  const bool little = IsLittleEndian(text, block_is_little);
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) text.remove_prefix(2);
  return Utf16ToUtf8(text, little ? ByteOrder::kLittle : ByteOrder::kBig);
}

void AddDescription(std::string_view value, std::map<std::string, std::string>& text) {
  if (value.empty()) return;
  const auto json = nlohmann::json::parse(value, nullptr, false);
  if (!json.is_object()) {
    text.emplace("description", Utf8Or(value));
    return;
  }
  for (const auto& [key, member] : json.items()) {
    if (member.is_string()) text.emplace(key, member.get<std::string>());
  }
}

void PutNumber(std::string& block, uint32_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) block += static_cast<char>(value >> (8 * i) & 0xFF);
}

struct Entry {
  uint16_t tag = 0, type = 0;
  std::string value;  // bytes; a LONG as 4 of them
};

// One folder with its values behind it, written at the end of `block`; entries must be in the order of their tags.
void PutFolder(std::string& block, const std::vector<Entry>& entries) {
  size_t values = block.size() + 2 + entries.size() * kEntryBytes + 4;
  std::string behind;
  PutNumber(block, static_cast<uint32_t>(entries.size()), 2);
  for (const Entry& entry : entries) {
    PutNumber(block, entry.tag, 2);
    PutNumber(block, entry.type, 2);
    PutNumber(block, entry.type == kLong ? 1 : static_cast<uint32_t>(entry.value.size()), 4);
    if (entry.value.size() <= 4) {
      block += entry.value + std::string(4 - entry.value.size(), '\0');
      continue;
    }
    PutNumber(block, static_cast<uint32_t>(values + behind.size()), 4);
    behind += entry.value;
    if (behind.size() % 2 != 0) behind += '\0';
  }
  PutNumber(block, 0, 4);
  block += behind;
}

// What PutFolder will write.
size_t FolderBytes(const std::vector<Entry>& entries) {
  std::string block;
  PutFolder(block, entries);
  return block.size();
}

std::string Description(std::map<std::string, std::string> text) {
  text.erase("parameters");
  // ASCII only, as the field's type asks for.
  return text.empty() ? "" : nlohmann::json(text).dump(-1, ' ', true) + '\0';
}

}  // namespace

std::string MakeExif(const std::map<std::string, std::string>& text) {
  if (text.empty()) return "";
  const auto parameters = text.find("parameters");
  std::vector<Entry> first;
  if (std::string description = Description(text); !description.empty()) {
    first.push_back({kImageDescription, kAscii, std::move(description)});
  }
  std::string block("MM\0\x2A\0\0\0\x08", kHeaderBytes);
  if (parameters == text.end()) {
    PutFolder(block, first);
    return block;
  }
  first.push_back({kExifFolder, kLong, std::string(4, '\0')});
  std::string& pointer = first.back().value;
  const auto comment_folder = static_cast<uint32_t>(kHeaderBytes + FolderBytes(first));
  pointer.clear();
  PutNumber(pointer, comment_folder, 4);
  PutFolder(block, first);
  PutFolder(block, {{kUserComment, kUndefined, std::string(kUnicode) + Utf8ToUtf16BigEndian(parameters->second)}});
  return block;
}

std::map<std::string, std::string> ExifText(std::string_view tiff) {
  const TiffReader reader(tiff);
  std::map<std::string, std::string> text;
  if (const auto entry = reader.FindEntry(reader.FirstFolder(), kImageDescription)) {
    AddDescription(UntilNul(reader.Bytes(*entry)), text);
  }
  const auto folder = reader.FindEntry(reader.FirstFolder(), kExifFolder);
  const auto entry = folder ? reader.FindEntry(reader.Number(*folder + 8, 4), kUserComment) : std::nullopt;
  const std::string comment = entry ? Comment(reader.Bytes(*entry), reader.little()) : "";
  if (!comment.empty()) text["parameters"] = comment;
  return text;
}

int ExifOrientation(std::string_view tiff) {
  const TiffReader reader(tiff);
  const auto entry = reader.FindEntry(reader.FirstFolder(), kOrientation);
  if (!entry) return 1;
  const size_t bytes = reader.Number(*entry + 2, 2) == kShort ? 2 : 4;
  const uint32_t value = reader.Number(*entry + 8, bytes).value_or(1);
  return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
}

int XmpOrientation(std::string_view xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  const size_t found = xmp.find(kName);
  if (found == std::string_view::npos) return 1;
  const std::string_view rest = xmp.substr(found + kName.size());
  const size_t digit = rest.starts_with("=\"") ? 2 : rest.starts_with('>') ? 1 : rest.size();
  return digit < rest.size() && rest[digit] >= '1' && rest[digit] <= '8' ? rest[digit] - '0' : 1;
}

}  // namespace tessera
