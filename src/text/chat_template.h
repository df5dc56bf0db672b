// Renderings of the chat templates the pipelines use (no Jinja: the results are fixed texts around the prompt).
#pragma once
#include <string>
#include <string_view>

namespace tessera {
// Qwen3 with thinking disabled: user turn, assistant header, empty think block (FLUX.2 klein).
std::string Qwen3ChatWithoutThinking(std::string_view prompt);
}  // namespace tessera
