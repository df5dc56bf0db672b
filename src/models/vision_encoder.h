// Vision encoders: a picture to the rows a denoiser reads.
#pragma once
#include <memory>
#include <string_view>

#include "media/picture.h"
#include "models/forward_context.h"
#include "weights/model_folder.h"

namespace tessera {

class VisionEncoder {
 public:
  virtual ~VisionEncoder() = default;
  // transformers' hidden_states[-2], the states before the last layer: [tokens, width] f32. `pixels` is what
  // VisionEncoderSpec::Pixels gives.
  virtual Tensor Encode(const Tensor& pixels, ForwardContext& context) const = 0;
};

struct VisionEncoderJob {
  DType compute = DType::kF32;
};

// A vision encoder as its config.json and preprocessor_config.json describe it; knows its costs and sites without
// weights.
class VisionEncoderSpec {
 public:
  virtual ~VisionEncoderSpec() = default;
  virtual int64_t width() const = 0;
  virtual int64_t tokens() const = 0;
  // The picture resized, cropped and normalised: [3, height, width] f32. Throws Error{kUnsupported} for a picture that
  // cannot be brought to the encoder's size.
  virtual Tensor Pixels(const Picture& picture) const = 0;
  virtual std::vector<SiteProblem> Sites(const VisionEncoderJob& job) const = 0;
  virtual Cost CostOf(const VisionEncoderJob& job) const = 0;  // of one picture
  // Bytes of the tensors Load keeps, as they lie in the checkpoint.
  virtual size_t UsedWeightBytes(const WeightMap& weights) const = 0;
  // Loads all layers but the last; that one, the final norm and projections may be in the checkpoint and are ignored.
  virtual std::unique_ptr<VisionEncoder> Load(WeightMap weights, const VisionEncoderJob& job) const = 0;
};

// One architecture: a file in models/vision/ and a line there.
struct VisionEncoderArchitecture {
  std::string_view class_names;  // of model_index.json, space separated
  // config.json of the encoder, preprocessor_config.json of its image processor. Throws Error{kFormat, kUnsupported}.
  std::unique_ptr<VisionEncoderSpec> (*parse)(const Config& config, const Config& preprocessor);
};

// Throws Error{kUnsupported} for an unknown class, naming the known ones.
const VisionEncoderArchitecture& FindVisionEncoder(std::string_view class_name);

}  // namespace tessera
