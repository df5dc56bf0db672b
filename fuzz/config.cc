// Any bytes as a JSON configuration: read through every typed accessor, or refused in one line.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/config.h"
#include "base/error.h"
#include "base/json.h"

namespace {

void ReadAsEveryType(const tessera::Config& config, const std::string& key) {
  const auto attempt = [](const auto& read) {
    try {
      read();
    } catch (const tessera::Error& error) {
      TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
    }
  };
  attempt([&] { TESSERA_CHECK(config.Int(key, 5, 0, 9) >= 0 && config.Int(key, 5, 0, 9) <= 9); });
  attempt([&] { config.Float(key, 1.5); });
  attempt([&] { config.Bool(key, true); });
  attempt([&] { config.String(key, ""); });
  attempt([&] { config.Ints(key, {}); });
  attempt([&] { config.Object(key).Has(key); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  try {
    const tessera::Config config(tessera::ParseJson(text, "fuzz.json"), "fuzz.json");
    ReadAsEveryType(config, "absent");
    if (!config.json().is_object()) return 0;
    for (const auto& entry : config.json().items()) ReadAsEveryType(config, entry.key());
  } catch (const tessera::Error& error) {
    TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
