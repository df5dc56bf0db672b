// The film autoencoders of Wan 2.1 and Wan 2.2: their weights and configuration.
#pragma once
#include <cstdint>

#include "cli/random_model/model_contents.h"

namespace tessera {

struct WanAutoencoderSize {
  int64_t base, decoder_base;  // channels at full resolution
  int64_t latent_channels;     // 16 or 48: those whose statistics are published
  int64_t resnets;             // per level
  int64_t patch;               // side of the squares of pixels that are folded into channels; 1: none
  bool is_residual;            // Wan 2.2: shortcuts around whole levels
};

// vae/ (AutoencoderKLWan), f32 as published.
void AddWanAutoencoder(const WanAutoencoderSize& size, ModelContents* contents);

}  // namespace tessera
