// Repairs text that was decoded with the wrong encoding ("schÃ¶n" to "schön"), as the ftfy library (version 6) does.
#pragma once
#include <string>

namespace tessera {

// Reads UTF-8 that was taken for an encoding of one byte per character again, as often as needed, in the whole text or
// in parts of it; also where a program made a space of the byte 0xa0, or U+FFFD of a byte without a meaning. Text that
// does not look misread is returned as it is. Control characters are kept.
std::u32string RepairMisreading(std::u32string text);

}  // namespace tessera
