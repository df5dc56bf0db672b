// The backends that `tessera compare` was asked for, with their configurations.
#pragma once
#include <string>
#include <vector>

#include "attention/registry.h"

namespace tessera {

struct ListedBackend {
  std::string label;     // the column's name: the backend's, unless it was given as LABEL=NAME
  std::string backend;   // as --attention-backend takes it, one name
  std::string config{};  // as it was typed
  Options options{};
  bool may_refuse = false;  // came in by "all"
};

// `names`: NAME, NAME+NAME, LABEL=NAME or "all", separated by commas. `configs`: "LABEL:CONFIG" with what
// --attention-backend-config takes, or one JSON object from labels to objects. Throws Error{kUsage, kIo, kFormat}: an
// unknown name, a label twice, a configuration of a label that is not there or of keys the backend does not have.
std::vector<ListedBackend> ListBackends(const std::vector<std::string>& names, const std::vector<std::string>& configs,
                                        const AttentionRegistry& registry);

}  // namespace tessera
