// Code points of UTF-8 text: decoding, classes, normal forms.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace tessera {

// Invalid bytes become U+FFFD, one per maximal prefix of a valid sequence, as Python's errors='replace' does it.
std::string ReplaceInvalidUtf8(std::string_view bytes);

// The functions below need valid UTF-8.
char32_t NextCodePoint(std::string_view text, size_t& position) noexcept;  // moves `position` behind it
char32_t LastCodePoint(std::string_view text) noexcept;                    // `text` is not empty
void AppendCodePoint(std::string& text, char32_t code);
std::u32string ToCodePoints(std::string_view text);

bool IsLetter(char32_t code) noexcept;       // \p{L}
bool IsNumber(char32_t code) noexcept;       // \p{N}
bool IsWhiteSpace(char32_t code) noexcept;   // \s: the property White_Space
bool IsWord(char32_t code) noexcept;         // \w: letters, marks, digits, connectors, joiners
bool IsPunctuation(char32_t code) noexcept;  // \p{P} or an ASCII symbol

// The end of the extended grapheme cluster that starts at `begin` < text.size() (Unicode annex 29).
size_t NextGrapheme(std::string_view text, size_t begin) noexcept;

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
std::string Normalize(std::string_view text, NormalForm form);  // linear time
std::string LowerUnicode(std::string_view text);                // each code point by itself

}  // namespace tessera
