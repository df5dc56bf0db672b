// Wan's denoisers: which transformer predicts at which timestep, and what it reads besides the latents.
#pragma once
#include <memory>
#include <optional>

#include "models/family.h"
#include "models/transformers/wan_transformer.h"

namespace tessera {

// The one or two denoisers of a checkpoint and when which is used.
struct WanExperts {
  WanTransformerConfig first;
  std::optional<WanTransformerConfig> second;
  double boundary = 0;            // timesteps below it belong to the second
  bool expand_timesteps = false;  // a timestep per token: the given first frame has 0
  int64_t temporal_factor = 4;
  int64_t picture_rows = 0;  // of the vision encoder, per reference

  int count() const noexcept { return second ? 2 : 1; }
  int At(double timestep) const noexcept { return second && timestep < boundary ? 1 : 0; }
  const WanTransformerConfig& Of(int expert) const { return expert == 0 ? first : *second; }
  static const char* Component(int expert) noexcept { return expert == 0 ? "transformer" : "transformer_2"; }
};

// The shapes of a call over latents [channels, frames, height, width].
WanSequence WanSequenceOf(const WanExperts& experts, int expert, const DenoisingJob& job, const Shape& latents);

// The expert in use: only it is loaded. `experts` and `folder` outlive it.
class WanExpertInUse {
 public:
  WanExpertInUse(const WanExperts& experts, const ModelFolder& folder, DType compute)
      : experts_(experts), folder_(folder), compute_(compute) {}
  // Loads the expert of this timestep in place of another; false when it is there already. `recorder` may be null.
  // Throws Error.
  bool Change(float timestep, TraceRecorder* recorder);
  int index() const noexcept { return index_; }  // -1: none yet
  const WanTransformer& operator*() const noexcept { return *transformer_; }
  const WanTransformer* operator->() const noexcept { return transformer_.get(); }

 private:
  const WanExperts& experts_;
  const ModelFolder& folder_;
  const DType compute_;
  int index_ = -1;
  std::unique_ptr<WanTransformer> transformer_;
};

// `count` frames of every channel, from frame `from` of one film to frame `to` of another; both [channels, frames, h,
// w] f32.
struct FrameRun {
  int64_t from = 0, to = 0, count = 1;
};
void CopyFrames(const Tensor& film, FrameRun run, Tensor& other) noexcept;

// Predicts the whole film at once. `experts` and `folder` outlive it.
std::unique_ptr<Denoiser> MakeWanDenoiser(const WanExperts& experts, const ModelFolder& folder, const DenoisingJob& job,
                                          Conditioning conditioning, const Shape& latents);

}  // namespace tessera
