// WanTransformer3DModel: full attention over the patches of a film, cross attention to the prompt and, in
// image-to-video models, to a picture (specification section 3.5; diffusers' numerics with an f32 residual).
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "layers/rotary.h"
#include "models/forward_context.h"
#include "weights/model_folder.h"

namespace tessera {

struct WanTransformerConfig {
  int64_t patch_t = 1, patch_h = 2, patch_w = 2;
  int64_t num_attention_heads = 40, attention_head_dim = 128;
  int64_t in_channels = 16, out_channels = 16;
  int64_t text_dim = 4096, freq_dim = 256, ffn_dim = 13824, num_layers = 40;
  bool cross_attn_norm = true;
  double eps = 1e-6;
  std::optional<int64_t> image_dim;          // width of the picture encoder's rows
  std::optional<int64_t> pos_embed_seq_len;  // learned positions of two pictures' rows
  bool to_gate_compress = false;             // not in the file: set from the weights' names

  // Class defaults for absent keys. Throws Error{kFormat, kUnsupported}.
  static WanTransformerConfig From(const Config& config);
  int64_t inner_dim() const noexcept { return num_attention_heads * attention_head_dim; }
  int64_t patch_volume() const noexcept { return patch_t * patch_h * patch_w; }
};

// Whether a checkpoint was trained with video sparse attention: it has gates.
bool HasWanGates(const WeightMap& weights);

// The shapes of one call. Sizes are those of the latents, before patching; patches must divide them.
struct WanSequence {
  std::string component = "transformer";
  int64_t frames = 0, height = 0, width = 0;
  int64_t text_rows = 512;  // padded prompt length
  int64_t image_rows = 0;   // of the picture encoder
  DType compute = DType::kF32;
  int64_t cached_frames = 0;  // that a WanKeyCache has room for, these included; 0: the film sees itself alone
};

// Where the attention calls sit and what they ask: self attention over the film, cross attention to text and picture.
std::vector<SiteProblem> WanSites(const WanTransformerConfig& config, const WanSequence& sequence);
Cost WanCost(const WanTransformerConfig& config, const WanSequence& sequence);              // one Forward
Cost WanConditioningCost(const WanTransformerConfig& config, const WanSequence& sequence);  // one Condition

// Rotation of every token, [tokens, head_dim / 2]: three axes, frames first (f64 frequencies, theta 10000).
RotaryTable WanRotary(const WanTransformerConfig& config, const WanSequence& sequence);

class WanKeyCache;

// What the cross attention of every layer reads: it does not depend on the step.
struct WanConditioning {
  struct Keys {
    Tensor k, v;  // [rows, inner] of the compute type
  };
  std::vector<Keys> text, image;  // per layer; image may be empty
  int32_t text_keys = 0;          // rows of `text` that are real: the prompt's, then one for all zero rows behind it
  std::vector<float> text_bias;   // [text_rows]: ln(number of zero rows) at the last real key
};

// A run of tokens that share a timestep (0..1000).
struct WanTimestep {
  int64_t tokens = 0;
  float timestep = 0;
};

class WanTransformer {
 public:
  // Takes every tensor of the component; throws Error{kFormat} otherwise.
  WanTransformer(const WanTransformerConfig& config, WeightMap weights, DType compute);
  ~WanTransformer();

  // prompt_embeds [text_rows, text_dim] of the compute type, rows from `valid` on are zero; image_embeds [image_rows,
  // image_dim] f32, undefined without a picture. Not noexcept: allocates what it returns.
  WanConditioning Condition(const Tensor& prompt_embeds, int64_t valid, const Tensor& image_embeds,
                            const WanSequence& sequence, ForwardContext& context) const;

  struct Input {
    Tensor latents;                          // [in_channels, frames, height, width] f32
    std::span<const WanTimestep> timesteps;  // in token order, all tokens covered
    const WanConditioning* conditioning = nullptr;
    const RotaryTable* rotary = nullptr;
    WanKeyCache* cache = nullptr;  // with cached_frames: begun with these tokens
  };
  // prediction [out_channels, frames, height, width] f32. The sites of `sequence` must have been prepared.
  void Forward(const Input& input, const WanSequence& sequence, ForwardContext& context,
               Tensor& prediction) const noexcept;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// What one call asks of attention; used by the transformer and by its costs.
AttentionSite WanSite(const WanSequence& sequence, AttentionRole role, int64_t layer);
AttentionProblem WanSelfProblem(const WanTransformerConfig& config, const WanSequence& sequence) noexcept;
AttentionProblem WanTextProblem(const WanTransformerConfig& config, const WanSequence& sequence) noexcept;
AttentionProblem WanImageProblem(const WanTransformerConfig& config, const WanSequence& sequence) noexcept;
int64_t WanTokens(const WanTransformerConfig& config, const WanSequence& sequence) noexcept;

}  // namespace tessera
