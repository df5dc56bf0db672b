// Signs that a text is UTF-8 which was read as an encoding of one byte per character ("Ã©" for "é").
#pragma once
#include <string_view>

namespace tessera {

// Whether characters stand side by side that people do not write so, but misreadings do: a capital with an accent
// behind a currency sign, a fraction behind an accented capital. The classes and sequences that count are those of the
// ftfy library's heuristic (version 6).
bool LooksMisread(std::u32string_view text);

}  // namespace tessera
