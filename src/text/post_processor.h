// The post-processors of tokenizer.json: special tokens around the ids of a text.
#pragma once
#include <cstdint>
#include <vector>

#include "base/config.h"

namespace tessera {

struct SpecialFrame {
  std::vector<int32_t> before, behind;
};

// The tokens a single text gets. `id_limit`: one more than the largest id. Throws Error{kFormat}, Error{kUnsupported}.
SpecialFrame ReadSpecialFrame(const Config& part, int32_t id_limit);

}  // namespace tessera
