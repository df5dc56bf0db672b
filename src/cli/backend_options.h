// The value of --attention-backend-config.
#pragma once
#include <string>

#include "attention/backend.h"

namespace tessera {

// A JSON object, the name of a .json, .yaml or .yml file, or key=value,... with typed values (true, 3, 0.5, [1, 2],
// "text"). Throws Error{kUsage, kIo, kFormat}; whether a backend knows the keys is checked by ResolveOptions.
Options ParseBackendOptions(const std::string& text);

}  // namespace tessera
