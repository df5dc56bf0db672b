// A tokenizer.json, a zero byte, and a prompt: refused in one line, or ids that the tokenizer knows.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "base/json.h"
#include "text/explain.h"
#include "text/json_tokenizer.h"

namespace {

void Tokenize(std::string_view file, std::string_view prompt) {
  const auto tokenizer = tessera::MakeJsonTokenizer(tessera::ParseJson(file, "fuzz.json"), "fuzz.json");
  for (const auto special : {tessera::SpecialTokens::kAdd, tessera::SpecialTokens::kLeaveOut}) {
    for (const int32_t id : tokenizer->Encode(prompt, special)) {
      TESSERA_CHECK(id >= 0 && id < tokenizer->vocabulary_size());
    }
  }
  tessera::ExplainTokens(*tokenizer, prompt);
  tessera::ExplainTokensAsJson(*tokenizer, prompt);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(bytes), size);
  const size_t zero = input.find('\0');
  try {
    Tokenize(input.substr(0, zero), zero == std::string_view::npos ? "" : input.substr(zero + 1));
  } catch (const tessera::Error& error) {
    TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
