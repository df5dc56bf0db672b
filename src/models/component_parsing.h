// How families read the components that model_index.json names.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "weights/model_folder.h"

namespace tessera {

// The specification of a component by the architecture that `find` has for its class, from its config.json and what
// else the architecture reads. Throws Error{kFormat}.
template <class Find, class... Further>
auto ParseComponent(const ModelFolder& folder, const std::string& name, Find find, const Further&... further) {
  const auto entry = folder.component(name);
  if (!entry || entry->class_name.empty()) {
    throw Error(ErrorKind::kFormat,
                fmt::format("model '{}': model_index.json names no {}", Printable(folder.name()), name));
  }
  const auto& architecture = find(entry->class_name);
  const Config config = folder.ComponentConfig(name);
  const std::string own = config.String("_class_name", entry->class_name);
  if (own == entry->class_name) return architecture.parse(config, further...);
  throw Error(ErrorKind::kFormat, fmt::format("{}: class '{}' contradicts model_index.json, which says {}",
                                              config.file(), Printable(own), entry->class_name));
}

// Components with one implementation: model_index.json must name a class that it stands for.
inline void RequireClass(const ModelFolder& folder, const std::string& name, const std::vector<std::string>& known) {
  const std::string class_name = folder.component(name).value_or(ComponentEntry{}).class_name;
  if (std::find(known.begin(), known.end(), class_name) != known.end()) return;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("model '{}': {} class '{}' is not supported; supported: {}", Printable(folder.name()), name,
                          Printable(class_name), Join(known, ", ")));
}

}  // namespace tessera
