// Command lines from arbitrary bytes, words separated by NUL: parsed or refused with one line.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "cli_flags/sample_table.h"

using namespace tessera;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  const auto words = Split({reinterpret_cast<const char*>(bytes), count}, '\0');
  try {
    const FlagValues values = ParseFlags(kSampleTable, words);
    if (values.Has("height") && (values.Int("height") < 16 || values.Int("height") > 8192)) __builtin_trap();
    if (values.Float("guidance-scale", 0) < 0) __builtin_trap();
    if (!IsUtf8(values.String("model-path"))) __builtin_trap();
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.find('\n') != std::string_view::npos || !IsUtf8(message)) __builtin_trap();
  }
  return 0;
}
