// The data sheets of the attention backends as tables, pages and JSON.
#pragma once
#include <span>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "attention/backend.h"
#include "attention/registry.h"
#include "base/table.h"

namespace tessera {

// One row per backend: names, devices, dtypes, head dims, masks, abilities, fidelity, options.
std::string PrintBackends(std::span<const AttentionBackend* const> backends, TableFormat format);
nlohmann::json BackendsToJson(std::span<const AttentionBackend* const> backends);

// Everything about one backend: summary, aliases, data sheet, and every option with type, range, default and help.
std::string DescribeBackend(const AttentionBackend& backend, TableFormat format);
nlohmann::json BackendToJson(const AttentionBackend& backend);

// Which backend runs on which kind of device: "yes", the instruction set it needs, or "-".
std::string PrintPlatformMatrix(std::span<const AttentionBackend* const> backends, TableFormat format);
nlohmann::json PlatformMatrixToJson(std::span<const AttentionBackend* const> backends);

// The page docs/attention_backends.md.
std::string BackendReference(const AttentionRegistry& registry);

}  // namespace tessera
