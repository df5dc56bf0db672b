// The compression of GIF (Graphics Interchange Format 89a, appendix F).
#pragma once
#include <cstdint>
#include <span>
#include <string>

namespace tessera {

// Appends `pixels`, each below 1 << bits, as one image's block: the code size, blocks of up to 255 bytes, an empty one.
// `bits` is 2..8.
void AppendLzw(std::string& bytes, std::span<const uint8_t> pixels, int bits);

}  // namespace tessera
