#include "text/chat_template.h"

namespace tessera {

std::string Qwen3ChatWithoutThinking(std::string_view prompt) {
  return std::string("<|im_start|>user\n")
      .append(prompt)
      .append("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
}

}  // namespace tessera
