// The list of attention backends: what src/attention/backends/CMakeLists.txt names, in that order.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "attention/backend.h"

namespace tessera {

std::span<const AttentionBackend* const> AttentionBackends() noexcept;

// By name or alias in any case. Throws Error{kUsage} for an unknown name, with the known ones and the nearest.
const AttentionBackend& FindAttentionBackend(std::string_view name);

}  // namespace tessera
