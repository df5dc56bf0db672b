// Sizes of the published FLUX.2 klein models, as a random-weight folder needs them.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace tessera {

struct KleinSize {
  std::string_view name;
  int64_t double_blocks, single_blocks, heads, head_dim;
  std::array<int64_t, 4> rope_axes;
  // Qwen3
  int64_t text_width, text_layers, text_heads, text_kv_heads, text_head_dim, text_mlp, vocabulary;
  int64_t first_added_token;  // id of <|endoftext|>; the others follow as in Qwen's list
  bool tied_embedding;        // no lm_head.weight
  std::array<int64_t, 3> text_taps;
  // KL autoencoder
  std::array<int64_t, 4> vae_channels;
  int64_t latent_channels, vae_groups, vae_resnets;

  int64_t width() const noexcept { return heads * head_dim; }
};

// flux2-klein-4b, flux2-klein-9b (specifications of the published checkpoints) and flux2-klein-tiny (seconds to run).
std::span<const KleinSize> KleinSizes() noexcept;

}  // namespace tessera
