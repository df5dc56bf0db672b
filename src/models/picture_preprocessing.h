// Pictures as vision encoders read them: preprocessor_config.json (transformers' CLIPImageProcessor).
#pragma once
#include <array>
#include <cstdint>

#include "base/config.h"
#include "media/picture.h"
#include "tensor/tensor.h"

namespace tessera {

struct PicturePreprocessing {
  enum class Resizing { kNone, kShortestEdge /* to size.height, the other edge in proportion */, kExact };
  enum class Cropping { kNone, kCenter };
  Resizing resizing = Resizing::kShortestEdge;
  PictureSize size{224, 224};
  Resample filter = Resample::kBicubic;
  Cropping cropping = Cropping::kCenter;
  PictureSize crop{224, 224};
  // value = (byte * factor - mean) / deviation, per channel; CLIP's constants.
  double factor = 1.0 / 255;
  std::array<double, 3> mean = {0.48145466, 0.4578275, 0.40821073};
  std::array<double, 3> deviation = {0.26862954, 0.26130258, 0.27577711};
};

// Throws Error{kFormat, kUnsupported} naming the key.
PicturePreprocessing ReadPicturePreprocessing(const Config& config);

// [3, height, width] f32. Resized as PIL does, to bytes. Throws Error{kUnsupported} for a picture that is smaller than
// its crop, or so long that the resized one would be too large.
Tensor ToPixels(const Picture& picture, const PicturePreprocessing& preprocessing);

}  // namespace tessera
