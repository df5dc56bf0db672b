// Attention schedules and options from arbitrary bytes; the first byte chooses the syntax. What is read can be looked
// up anywhere; mistakes are one line.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "attention/option_text.h"
#include "attention/schedule_file.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "base/yaml.h"

using namespace tessera;

namespace {

template <class Action>
void ExpectOneLine(Action action) {
  try {
    action();
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.find('\n') != std::string_view::npos || !IsUtf8(message)) __builtin_trap();
  }
}

void LookUp(const nlohmann::json& tree) {
  AttentionSchedule schedule;
  for (const ScheduleRule& rule : ParseScheduleRules(tree, "f")) schedule.AddAsked(rule);
  for (const char* component : {"transformer", "transformer_2", "vae"}) {
    for (int step = -1; step < 4; ++step) {
      const AttentionSite site{component, AttentionRole::kSelf, 2};
      const AttentionRequest request = schedule.RequestFor(site, step, {.layers = 3, .steps = 4});
      if (request.names.empty()) __builtin_trap();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  if (count == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(bytes + 1), count - 1);
  const bool yaml = bytes[0] % 3 == 0;
  if (bytes[0] % 3 == 2) {
    // A text that names a file would read it.
    if (text.find('=') != std::string::npos) ExpectOneLine([&] { ParseOptions(text, "--attention-backend-config"); });
    return 0;
  }
  ExpectOneLine([&] { LookUp(yaml ? ParseYaml(text, "f") : ParseJson(text, "f", kMostYamlDepth)); });
  return 0;
}
