// CLIP's vision transformer, which reads the picture that a film starts from.
#pragma once
#include <cstdint>

#include "cli/random_model/model_contents.h"

namespace tessera {

struct ClipVisionSize {
  int64_t width, layers, heads, mlp, image_side, patch_side;
};

// image_encoder/ (CLIPVisionModel) and image_processor/.
void AddClipVision(const ClipVisionSize& size, DType dtype, ModelContents* contents);

}  // namespace tessera
