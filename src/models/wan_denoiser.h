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

// Predicts the whole film at once. Only the expert in use is loaded. `experts` and `folder` outlive it.
std::unique_ptr<Denoiser> MakeWanDenoiser(const WanExperts& experts, const ModelFolder& folder, const DenoisingJob& job,
                                          Conditioning conditioning, const Shape& latents);

}  // namespace tessera
