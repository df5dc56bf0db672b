// The KL autoencoder of the FLUX.2 models: its weights and configuration.
#pragma once
#include <array>
#include <cstdint>

#include "cli/random_model/model_contents.h"

namespace tessera {

struct KlAutoencoderSize {
  std::array<int64_t, 4> channels;
  int64_t latent_channels, groups, resnets;
};

// vae/ (AutoencoderKLFlux2).
void AddKlAutoencoder(const KlAutoencoderSize& size, DType dtype, ModelContents* contents);

}  // namespace tessera
