#include "base/interrupt_advice.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

namespace tessera {
namespace {

// Fixed memory because a signal handler reads it; the text in use is never written to.
using Text = std::array<char, 1001>;
constinit std::array<Text, 2> texts{};
constinit std::atomic<size_t> in_use{0};

}  // namespace

void SetInterruptAdvice(std::string_view advice) noexcept {
  const size_t next = 1 - in_use.load();
  const size_t length = std::min(advice.size(), texts[next].size() - 1);
  std::memcpy(texts[next].data(), advice.data(), length);
  texts[next][length] = '\0';
  in_use.store(next);
}

const char* InterruptAdvice() noexcept { return texts[in_use.load()].data(); }

}  // namespace tessera
