#include "cli/backend_options.h"

#include "attention/option_text.h"

namespace tessera {

Options ParseBackendOptions(const std::string& text) { return ParseOptions(text, "--attention-backend-config"); }

}  // namespace tessera
