// Prompts as Wan's pipelines clean them before tokenization (diffusers' prompt_clean: ftfy, HTML, white space).
#pragma once
#include <string>
#include <string_view>

namespace tessera {

// Repairs misread encodings; straightens curly quotes; unfolds ligatures of Latin letters and forms of half and full
// width; drops control characters and terminal escapes; NFC; decodes HTML character references twice; makes every run
// of white space one blank and strips both ends. Valid UTF-8 in and out.
std::string CleanPrompt(std::string_view prompt);

// The first part alone: what ftfy.fix_text does with its default options, line by line.
std::string FixText(std::string_view text);

}  // namespace tessera
