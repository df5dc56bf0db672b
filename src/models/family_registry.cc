#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "models/family.h"

namespace tessera {

#define X(name) extern const ModelFamilyEntry name##_family;
#include "model_family.inc"
#undef X

namespace {

#define X(name) &name##_family,
constexpr auto kFamilies = std::to_array<const ModelFamilyEntry*>({
#include "model_family.inc"
});
#undef X

}  // namespace

std::unique_ptr<ModelFamily> OpenModelFamily(const ModelFolder& folder) {
  const std::string wanted = folder.pipeline_class();
  std::vector<std::string> known;
  for (const ModelFamilyEntry* family : kFamilies) {
    for (const std::string& name : Split(family->pipeline_classes, ' ')) {
      if (name == wanted) return family->open(folder);
      known.push_back(name);
    }
  }
  throw Error(ErrorKind::kUnsupported,
              fmt::format("model '{}': pipeline class '{}' in model_index.json is not supported; supported: {}",
                          Printable(folder.name()), Printable(wanted), Join(known, ", ")));
}

}  // namespace tessera
