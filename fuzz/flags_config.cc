// Config files of flags from arbitrary bytes; the first byte chooses the syntax. What is read is one line per mistake.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "cli/flag_config.h"

using namespace tessera;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  if (count == 0) return 0;
  const ConfigSyntax syntax = bytes[0] % 2 == 0 ? ConfigSyntax::kJson : ConfigSyntax::kYaml;
  try {
    for (const ConfigEntry& entry :
         ParseFlagConfig({reinterpret_cast<const char*>(bytes + 1), count - 1}, syntax, "f")) {
      if (entry.name.empty()) __builtin_trap();
      if (!entry.is_list && entry.values.size() != 1) __builtin_trap();
    }
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.find('\n') != std::string_view::npos || !IsUtf8(message)) __builtin_trap();
  }
  return 0;
}
