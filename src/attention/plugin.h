// A shared library that brings attention backends (include/tessera/attention_plugin.h).
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "attention/backend.h"
#include "tessera/attention_plugin.h"

namespace tessera {

class PluginBackend;

// Immutable once loaded. The library itself stays in the process: threads it started may not lose their code.
class AttentionPlugin {
 public:
  // A name without '/' that is no file of the working folder is looked for where the system keeps libraries. Throws
  // Error{kIo} for what cannot be loaded and Error{kFormat} for what is no plug-in of this version or contradicts
  // itself. Shared by the registries that offer its backends.
  static std::shared_ptr<const AttentionPlugin> Load(const std::string& path);

  // What a library would give, from its table: for backends that are linked in. `path` is used in messages.
  AttentionPlugin(std::string path, const tessera_attention_library* library);
  ~AttentionPlugin();

  const std::string& path() const noexcept { return path_; }
  std::span<const AttentionBackend* const> backends() const noexcept { return backends_; }

 private:
  const std::string path_;
  std::vector<std::unique_ptr<PluginBackend>> owned_;
  std::vector<const AttentionBackend*> backends_;
};

}  // namespace tessera
