#include "media/gif_lzw.h"

#include <array>
#include <cstddef>

#include "base/check.h"

namespace tessera {
namespace {

constexpr int kMostCodes = 4096, kMostBits = 12;

// Codes of changing length, least significant bit first, in blocks with their length in front.
class CodeWriter {
 public:
  explicit CodeWriter(std::string& bytes) : bytes_(bytes) {}

  void Put(int code, int bits) {
    waiting_ |= static_cast<uint32_t>(code) << waiting_bits_;
    waiting_bits_ += bits;
    for (; waiting_bits_ >= 8; waiting_bits_ -= 8, waiting_ >>= 8) PutByte(static_cast<char>(waiting_ & 0xFF));
  }

  void End() {
    if (waiting_bits_ > 0) PutByte(static_cast<char>(waiting_ & 0xFF));
    CloseBlock();
    bytes_ += '\0';
  }

 private:
  void PutByte(char byte) {
    block_ += byte;
    if (block_.size() == 255) CloseBlock();
  }
  void CloseBlock() {
    if (block_.empty()) return;
    bytes_ += static_cast<char>(block_.size());
    bytes_ += block_;
    block_.clear();
  }

  std::string& bytes_;
  std::string block_;
  uint32_t waiting_ = 0;
  int waiting_bits_ = 0;
};

// The strings that have a code: (code of all but the last pixel, last pixel) -> code, in an open hash table.
class CodeTable {
 public:
  CodeTable() { Clear(); }
  void Clear() { keys_.fill(kEmpty); }

  // The code of the string, or -1 and `added` is its code from now on.
  int FindOrAdd(int prefix, uint8_t pixel, int added) {
    const uint32_t key = static_cast<uint32_t>(prefix) << 8 | pixel;
    for (size_t place = key * 2654435761u >> 19;; place = (place + 1) % keys_.size()) {
      if (keys_[place] == key) return codes_[place];
      if (keys_[place] != kEmpty) continue;
      keys_[place] = key;
      codes_[place] = static_cast<int16_t>(added);
      return -1;
    }
  }

 private:
  static constexpr uint32_t kEmpty = 0xFFFFFFFF;
  std::array<uint32_t, 8192> keys_;  // two places for each code
  std::array<int16_t, 8192> codes_;
};

}  // namespace

void AppendLzw(std::string& bytes, std::span<const uint8_t> pixels, int bits) {
  TESSERA_CHECK(bits >= 2 && bits <= 8 && !pixels.empty());
  const int clear = 1 << bits, end = clear + 1;
  bytes += static_cast<char>(bits);
  CodeWriter writer(bytes);
  CodeTable table;
  int next = end + 1, code_bits = bits + 1;
  writer.Put(clear, code_bits);
  int prefix = pixels[0];
  for (const uint8_t pixel : pixels.subspan(1)) {
    if (const int longer = table.FindOrAdd(prefix, pixel, next); longer >= 0) {
      prefix = longer;
      continue;
    }
    writer.Put(prefix, code_bits);
    if (next == 1 << code_bits) ++code_bits;
    if (++next == kMostCodes) {
      writer.Put(clear, code_bits);
      table.Clear();
      next = end + 1;
      code_bits = bits + 1;
    }
    prefix = pixel;
  }
  writer.Put(prefix, code_bits);
  // The reader has one string more by now.
  if (next == 1 << code_bits && code_bits < kMostBits) ++code_bits;
  writer.Put(end, code_bits);
  writer.End();
}

}  // namespace tessera
