// The prompts the demo model has never seen, drawn by the program and scored.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "demo_model/scorer.h"

namespace tessera::demo {

struct HeldPrompt {
  std::string prompt;
  int64_t seed = 0;
};
std::vector<HeldPrompt> HeldPrompts();  // 96 of them

// Draws every prompt with the program's defaults and `flags`, several at a time, in their order. Throws
// std::runtime_error with the program's message when it fails.
std::vector<ScoredScene> DrawAndScore(const std::vector<HeldPrompt>& prompts, const std::vector<std::string>& flags);

}  // namespace tessera::demo
