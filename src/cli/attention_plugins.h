// The flag --attention-plugin of every command that chooses attention backends.
#pragma once
#include <memory>

#include "attention/registry.h"
#include "cli/flags.h"

namespace tessera {

inline constexpr Flag kAttentionPluginFlag = {
    "attention-plugin",
    FlagKind::kStrings,
    "shared libraries that bring further attention backends (include/tessera/attention_plugin.h)",
    "",
    "none",
    "",
    "LIBRARY"};

// What is built in with the backends of the libraries that were given. Shared with the requests made from the flags.
// Throws Error{kIo, kFormat, kUsage}.
std::shared_ptr<const AttentionRegistry> RegistryOf(const FlagValues& values);

}  // namespace tessera
