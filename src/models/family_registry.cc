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

void Denoiser::Restore(int, const Tensor&, const TensorState& state, ForwardContext&) {
  state.RequireEmpty("a denoiser", "denoiser");
}

PictureSize ModelFamily::DefaultSize(std::span<const PictureSize> references) const {
  return references.empty() ? Defaults().size : references.front();
}

int64_t ModelFamily::RoundFrames(int64_t asked) const {
  if (asked == 1) return 1;
  throw Error(ErrorKind::kUsage, fmt::format("--num-frames {}: this model makes single pictures", asked));
}

std::vector<std::vector<Tensor>> ModelFamily::FramesToEncode(std::span<const Picture> references,
                                                             const DenoisingJob&) const {
  std::vector<std::vector<Tensor>> frames;
  for (const Picture& reference : references) frames.push_back({PixelsOf(reference)});
  return frames;
}

std::vector<ModelFamily::EncodedFrames> ModelFamily::EncodedSizes(const DenoisingJob& job) const {
  std::vector<EncodedFrames> sizes;
  for (const PictureSize& reference : job.references) sizes.push_back({reference, 1});
  return sizes;
}

Tensor PixelsOf(const Picture& picture) {
  Tensor pixels = Tensor::Empty({picture.height, picture.width, 3}, DType::kF32);
  float* value = pixels.mutable_data<float>();
  for (size_t i = 0; i < picture.rgb.size(); ++i) value[i] = static_cast<float>(picture.rgb[i]) / 255.0f * 2.0f - 1.0f;
  return pixels;
}

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
