#include "text/misreading_signs.h"

#include <array>
#include <cstdint>
#include <vector>

#include "text/unicode.h"

namespace tessera {
namespace {

// Classes of characters; one may be in several.
using Classes = uint32_t;
enum : Classes {
  kControl = 1u << 0,      // C1
  kRare = 1u << 1,         // hardly ever meant
  kLaw = 1u << 2,          // of contracts
  kCurrency = 1u << 3,     //
  kOpening = 1u << 4,      // punctuation before a word
  kClosing = 1u << 5,      // punctuation behind a word
  kNumeric = 1u << 6,      // mathematics
  kFace = 1u << 7,         // drawn into faces of characters
  kUpper = 1u << 8,        // Latin capitals with accents
  kLower = 1u << 9,        // Latin small letters with accents
  kOtherUpper = 1u << 10,  // Greek and Cyrillic
  kOtherLower = 1u << 11,
  kBox = 1u << 12,       // frames
  kEveryday = 1u << 13,  // in all kinds of texts
  kAsciiUpper = 1u << 14,
  kAsciiLower = 1u << 15,
  kSpace = 1u << 16,
  kWord = 1u << 17,
  kNewline = 1u << 18,
};
constexpr Classes kAsciiLetter = kAsciiUpper | kAsciiLower;
constexpr Classes kAccented = kUpper | kLower;
constexpr Classes kPunctuation = kOpening | kClosing;
constexpr Classes kSymbol = kBox | kPunctuation | kCurrency | kNumeric | kLaw;

struct Range {
  char32_t first, last;
  Classes classes;
};
constexpr Range kRanges[] = {
    {0x80, 0x9F, kControl},      {0xC0, 0xD1, kUpper},        {0xE0, 0xF1, kLower},        {0xD2, 0xD6, kFace},
    {0xD9, 0xDC, kFace},         {0xF2, 0xF6, kFace},         {0xF8, 0xFC, kFace},         {0x391, 0x3A9, kOtherUpper},
    {0x401, 0x42F, kOtherUpper}, {0x3B1, 0x3C9, kOtherLower}, {0x430, 0x45F, kOtherLower}, {0x2550, 0x256C, kBox},
    {'A', 'Z', kAsciiUpper},     {'a', 'z', kAsciiLower},     {'\n', '\n', kNewline},
};

struct Members {
  std::u32string_view characters;
  Classes classes;
};
constexpr Members kMembers[] = {
    {U"\u00a0\u00ad·´–—―…’", kEveryday},
    {U"¦¤¨¬¯¸ƒˆˇ˘˛˜†‡‰⌐◊\ufffdªº", kRare},
    {U"¶§", kLaw},
    {U"¢£¥₧€", kCurrency},
    {U"¡«¿©΄΅‘‚“„•‹\uf8ff", kOpening},
    {U"®»˝”›™", kClosing},
    {U"²³¹±¼½¾×µ÷⁄∂∆∏∑√∞∩∫≈≠≡≤≥№", kNumeric},
    {U"ŐŌŪŲ°", kFace},
    {U"ØÜÝĂĀĄĆČĎĐĘĚĒĖĞĢİĪĶĹĽŁĻŃŇŅŒŘŚŞŠŢŤŮŰŸŹŻŽҐ", kUpper},
    {U"ßăąāćčďđęěēėğģįīķĺľłļœŕśşšťüźżžґﬁﬂ", kLower},
    {U"ÞΆΈΉΊΌΎΏΪΫ", kOtherUpper},
    {U"άέήίΰ", kOtherLower},
    {U"│┌┐┘├┤┬┼▀▄█▌▐░▒▓", kBox},
};

Classes ClassesOf(char32_t code) {
  Classes classes = 0;
  for (const Range& range : kRanges) {
    if (code >= range.first && code <= range.last) classes |= range.classes;
  }
  if (code >= 0x80) {
    for (const Members& members : kMembers) {
      if (members.characters.find(code) != std::u32string_view::npos) classes |= members.classes;
    }
  }
  if (IsWhiteSpace(code) || (code >= 0x1C && code <= 0x1F)) classes |= kSpace;
  if (IsLetter(code) || IsNumber(code) || code == '_') classes |= kWord;
  return classes;
}

// One place of a sequence: a character of one of the classes, or one of the characters.
struct Place {
  Classes classes = 0;
  std::u32string_view characters{};
  enum class Sense { kOneOf, kNoneOf } sense = Sense::kOneOf;
};
constexpr auto kNoneOf = Place::Sense::kNoneOf;

struct Sequence {
  std::array<Place, 7> places{};
  int64_t length = 0;

  template <class... Places>
  constexpr explicit Sequence(const Places&... list) : places{Place(list)...}, length(sizeof...(Places)) {}
};

// What misread Arabic letters go on with, and misread Cyrillic or Greek ones between two lead letters.
constexpr Place kArabicLead{0, U"ØÙ"};
constexpr Place kArabicRest{kEveryday | kCurrency | kRare | kNumeric | kOpening, U"ŸŠ®°µ»"};
constexpr Place kCyrillicLead{0, U"ВГРС"};
constexpr Place kGreekLead{0, U"ΒΓΞΟ"};
constexpr Classes kBetweenLeads = kControl | kRare | kPunctuation | kCurrency;
constexpr Place kTildeOrCircumflex{0, U"ÃÂ"};
constexpr Place kBlank{0, U" "};

constexpr Sequence kSequences[] = {
    // Classes that do not meet in writing.
    Sequence(Place{kControl}),
    Sequence(Place{kRare | kAccented | kSymbol}, Place{kRare}),
    Sequence(Place{kAsciiLetter}, Place{kOtherLower | kOtherUpper}, Place{kRare}),
    Sequence(Place{kRare}, Place{kAccented | kSymbol}),
    Sequence(Place{kLower | kOtherLower | kBox | kClosing | kCurrency | kNumeric}, Place{kUpper}),
    Sequence(Place{kBox | kClosing | kCurrency | kNumeric}, Place{kLower}),
    Sequence(Place{kLower | kBox | kClosing}, Place{kCurrency}),
    Sequence(Place{kSpace}, Place{kUpper}, Place{kCurrency}),
    Sequence(Place{kUpper | kBox}, Place{kNumeric | kLaw}),
    Sequence(Place{kAccented | kBox | kCurrency | kClosing}, Place{kOpening}, Place{kNumeric}),
    Sequence(Place{kAccented | kCurrency | kNumeric | kBox | kLaw}, Place{kClosing}, Place{kOpening}),
    Sequence(Place{kCurrency | kNumeric | kBox}, Place{kOpening}),
    Sequence(Place{kAsciiLower}, Place{kUpper}, Place{kOpening | kCurrency}),
    Sequence(Place{kBox}, Place{kFace}),
    Sequence(Place{kAccented | kCurrency | kNumeric | kPunctuation | kLaw}, Place{kBox}),
    Sequence(Place{kBox}, Place{kClosing}),
    Sequence(Place{kAccented}, Place{kPunctuation}, Place{kWord}),
    Sequence(Place{0, U"Œœ"}, Place{kAsciiLetter, {}, kNoneOf}),
    Sequence(Place{kUpper}, Place{0, U"°"}),
    // windows-1252.
    Sequence(Place{0, U"ÂÃÎÐ"}, Place{kPunctuation, U"€œŠš¢£Ÿž\u00a0\u00ad®©°·»–—´"}),
    Sequence(Place{0, U"×"}, Place{0, U"²³"}),
    Sequence(kArabicLead, kArabicRest, kArabicLead, kArabicRest),
    Sequence(Place{0, U"à"}, Place{0, U"²µ¹¼½¾"}),
    Sequence(Place{0, U"Ã"}, Place{0, U"\u00a0¡"}),
    Sequence(Place{kAsciiLower}, kTildeOrCircumflex, kBlank),
    Sequence(Place{kAsciiLower}, Place{kSpace}, kTildeOrCircumflex, kBlank),
    Sequence(Place{kAsciiLower | kClosing, U".,?!"}, Place{0, U"Â"}, Place{kPunctuation, U" "}),
    // MacRoman.
    Sequence(Place{0, U"√"}, Place{0, U"±∂†≠®™´≤≥¥µø"}),
    Sequence(Place{0, U"≈"}, Place{0, U"°¢"}),
    Sequence(Place{0, U"‚"}, Place{0, U"Ä"}, Place{0, U"ìîïòôúùû†°¢π"}),
    Sequence(Place{0, U"‚"}, Place{0, U"âó"}, Place{0, U"àä°ê"}),
    // windows-1251, also on top of another misreading.
    Sequence(Place{0, U"в"}, Place{0, U"Ђ"}),
    Sequence(kCyrillicLead, Place{kBetweenLeads, U"°µ"}, kCyrillicLead),
    Sequence(Place{0, U"Г"}, Place{0, U"ў"}, Place{0, U"В"}, Place{0, U"Ђ"}, Place{0, U"В"},
             Place{kNewline, {}, kNoneOf}, Place{kAsciiLetter, U" "}),
    // windows-1253 and 1257.
    Sequence(Place{0, U"β"}, Place{0, U"€"}, Place{0, U"™\u00a0Ά\u00ad®°"}),
    Sequence(kGreekLead, Place{kBetweenLeads, U"°"}, kGreekLead),
    Sequence(Place{0, U"ā"}, Place{0, U"€"}),
};
constexpr Sequence kSequenceAtBegin(kTildeOrCircumflex, kBlank);

struct Classified {
  std::u32string_view text;
  std::vector<Classes> classes;
};

bool Occupies(const Classified& text, int64_t at, const Place& place) {
  const bool is_member = (text.classes[static_cast<size_t>(at)] & place.classes) != 0 ||
                         place.characters.find(text.text[static_cast<size_t>(at)]) != std::u32string_view::npos;
  return is_member == (place.sense == Place::Sense::kOneOf);
}

bool Matches(const Classified& text, int64_t at, const Sequence& sequence) {
  if (at + sequence.length > std::ssize(text.text)) return false;
  for (int64_t i = 0; i < sequence.length; ++i) {
    if (!Occupies(text, at + i, sequence.places[static_cast<size_t>(i)])) return false;
  }
  return true;
}

}  // namespace

bool LooksMisread(std::u32string_view text) {
  Classified classified{text, {}};
  classified.classes.reserve(text.size());
  for (const char32_t code : text) classified.classes.push_back(ClassesOf(code));
  if (Matches(classified, 0, kSequenceAtBegin)) return true;
  for (int64_t at = 0; at < std::ssize(text); ++at) {
    for (const Sequence& sequence : kSequences) {
      if (Matches(classified, at, sequence)) return true;
    }
  }
  return false;
}

}  // namespace tessera
