// Any text becomes a prompt: valid UTF-8 without line breaks, blanks in a row or blanks at the ends.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/text.h"
#include "text/prompt_cleaning.h"
#include "text/unicode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string text = tessera::ReplaceInvalidUtf8({reinterpret_cast<const char*>(bytes), size});
  const std::string clean = tessera::CleanPrompt(text);
  const bool is_clean = tessera::IsUtf8(clean) && clean.find("  ") == std::string::npos &&
                        clean.find('\n') == std::string::npos && !clean.starts_with(' ') && !clean.ends_with(' ');
  if (!is_clean) std::abort();
  return 0;
}
