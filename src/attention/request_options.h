// Which options of a request go to which of its backends.
#pragma once
#include <span>
#include <string>

#include "attention/selector.h"

namespace tessera {

// Completed with defaults: those options of the request that `backend` knows, when the request names it.
Options OptionsFor(const AttentionBackend& backend, const AttentionRequest& request, const AttentionRegistry& registry);

// Throws Error{kUsage} for an option that none of the backends in `names` takes, naming the nearest key or the backend
// whose key it is, and for values that do not fit. `flag` leads the message.
void CheckOptions(const Options& options, std::span<const std::string> names, const AttentionRegistry& registry,
                  std::string_view flag);

}  // namespace tessera
