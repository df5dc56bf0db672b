// The list of attention backends: what src/attention/backends/CMakeLists.txt names, in that order.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "attention/backend.h"

namespace tessera {

// A plug-in <name>.cc defines k_<name>_backend: `constinit const AttentionBackend k_fa_backend = {...};`.
#define X(name) extern const AttentionBackend k_##name##_backend;
#include "attention_backend.inc"
#undef X

std::span<const AttentionBackend* const> AttentionBackends() noexcept;

// By name or alias in any case. Throws Error{kUsage} for an unknown name, with the known ones and the nearest.
const AttentionBackend& FindAttentionBackend(std::string_view name);
const AttentionBackend& FindAttentionBackend(std::string_view name, std::span<const AttentionBackend* const> backends);

}  // namespace tessera
