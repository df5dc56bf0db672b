// Any bytes as a mask strategy or a search result: read, or refused in one line.
#include <cstdint>
#include <string_view>

#include "attention/window_search.h"
#include "base/check.h"
#include "base/error.h"
#include "base/json.h"

namespace {

template <class Read>
void Attempt(const Read& read) {
  try {
    read();
  } catch (const tessera::Error& error) {
    TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
}

void ReadStrategy(std::string_view text) {
  const tessera::WindowStrategy strategy = tessera::ParseWindowStrategy(text, "fuzz.json");
  for (const tessera::WindowEntry& entry : strategy.entries()) {
    TESSERA_CHECK(entry.step >= 0 && entry.layer >= 0 && entry.head >= 0);
    for (const int32_t tiles : entry.window) TESSERA_CHECK(tiles >= 1);
    TESSERA_CHECK(!strategy.At(entry.step, entry.layer).empty());
  }
  if (strategy.entries().empty()) return;
  const std::string written = strategy.ToJson();
  TESSERA_CHECK(tessera::ParseWindowStrategy(written, "written.json").ToJson() == written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  Attempt([&] { ReadStrategy(text); });
  Attempt([&] {
    const auto losses = tessera::ParseWindowLosses(tessera::ParseJson(text, "fuzz.json"), "fuzz.json");
    tessera::TuneWindows({&losses, 1}, {}, {3, 6, 10}, 1);
  });
  return 0;
}
