// Autoencoders between pixels and latents.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "models/forward_context.h"
#include "weights/model_folder.h"

namespace tessera {

struct AutoencoderJob {
  int64_t height = 0, width = 0;  // pixels
  DType compute = DType::kF32;
  int64_t tile = 0;  // pixels per tile side; 0: whole pictures (see AutoencoderSpec::TileFor)
  enum class Direction { kEncode, kDecode } direction = Direction::kDecode;
  int64_t frames = 1;  // of a film; a picture has one
};

// Frames are [height, width, 3] f32 in -1..1; latents are [latent_channels, latent_frames, h, w] f32.
class Autoencoder {
 public:
  virtual ~Autoencoder() = default;
  virtual Tensor Encode(std::span<const Tensor> frames, ForwardContext& context) const = 0;  // the posterior's mean
  // Gives every frame to `take`, in order, while later ones are still to be decoded. What `take` throws ends the work.
  using TakeFrame = std::function<void(const Tensor& frame)>;
  virtual void Decode(const Tensor& latents, ForwardContext& context, const TakeFrame& take) const = 0;
};

// Statistics that normalise latents per channel (FLUX.2: the batch norm's running mean and variance, of patches; Wan:
// lists of the configuration).
struct LatentStatistics {
  Tensor mean, deviation;  // [channels] f32; deviation = sqrt(var + eps)
};

class AutoencoderSpec {
 public:
  virtual ~AutoencoderSpec() = default;
  virtual int64_t latent_channels() const = 0;
  virtual int64_t spatial_factor() const = 0;            // 8
  virtual int64_t temporal_factor() const { return 1; }  // frames per latent frame, but the first
  // The tile side to use for a picture of this size when the user did not choose: 0 when it is decoded whole.
  virtual int64_t TileFor(int64_t height, int64_t width) const = 0;
  virtual bool TakesTiles() const { return true; }  // whether AutoencoderJob::tile may be set
  virtual std::vector<SiteProblem> Sites(const AutoencoderJob& job) const = 0;
  virtual Cost CostOf(const AutoencoderJob& job) const = 0;
  // Loads one direction (the other's tensors are checked by name and left unread).
  virtual std::unique_ptr<Autoencoder> Load(WeightMap weights, const AutoencoderJob& job) const = 0;
  // Reads the statistics only; undefined tensors when the architecture has none.
  virtual LatentStatistics Statistics(WeightMap weights) const = 0;
};

// One architecture: a file in models/vae/ and a line there.
struct AutoencoderArchitecture {
  std::string_view class_names;  // "AutoencoderKLFlux2"
  std::unique_ptr<AutoencoderSpec> (*parse)(const Config& config);
};
const AutoencoderArchitecture& FindAutoencoder(std::string_view class_name);

}  // namespace tessera
