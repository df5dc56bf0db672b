// What a shared library says about an attention backend, checked and copied: nothing that follows trusts the library's
// structures.
#pragma once
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "attention/backend.h"
#include "tessera/attention_plugin.h"

namespace tessera {

// The views point into `texts`, which keeps its elements in place when the sheet moves.
struct PluginSheet {
  std::string_view name, summary;
  AttentionCaps caps;
  double speed = 0;
  std::vector<OptionSpec> options;
  std::deque<std::string> texts;
  std::deque<OptionValue> defaults;
};

// Throws Error{kFormat} that says which field of `given` makes no sense. Texts must end in a zero.
PluginSheet ReadPluginSheet(const tessera_attention_backend& given);

// A value as a library reads it: "true", "12", "0.25", "word".
std::string OptionText(const OptionValue& value);

}  // namespace tessera
