// Any line either is refused with a one-line message or parses to a problem that prints to the same problem, and that
// selection serves or refuses with reasons.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "attention/problem.h"
#include "attention/registry.h"
#include "attention/selector.h"
#include "base/error.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckMessage(const tessera::Error& error) {
  const std::string_view message = error.what();
  Require(!message.empty() && message.size() < 4000 && message.find_first_of("\r\n") == std::string_view::npos);
}

void CheckSelection(const tessera::AttentionProblem& problem) {
  const tessera::AttentionRequest request{{"auto"}, tessera::ChoiceSource::kAuto, tessera::Fidelity::kSparse, {}};
  try {
    const auto selection = tessera::Select(problem, {}, request, tessera::AttentionRegistry::BuiltIn(), "fuzz");
    Require(selection.rejected.size() + 1 == tessera::AttentionRegistry::BuiltIn().backends().size());
    for (const auto& rejection : selection.rejected) Require(!rejection.reasons.empty());
  } catch (const tessera::Error& error) {
    CheckMessage(error);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(bytes), size);
  tessera::AttentionProblem problem;
  try {
    problem = tessera::ParseAttentionProblem(line);
  } catch (const tessera::Error& error) {
    CheckMessage(error);
    return 0;
  }
  Require(tessera::ParseAttentionProblem(tessera::Print(problem)) == problem);
  CheckSelection(problem);
  return 0;
}
