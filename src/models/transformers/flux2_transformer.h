// Flux2Transformer2DModel: double-stream and single-stream blocks with shared modulation (specification 2.5).
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "layers/rotary.h"
#include "models/forward_context.h"
#include "weights/model_folder.h"

namespace tessera {

struct Flux2TransformerConfig {
  int64_t in_channels = 128, out_channels = 128;
  int64_t num_layers = 8, num_single_layers = 48;
  int64_t attention_head_dim = 128, num_attention_heads = 48;
  int64_t joint_attention_dim = 15360;
  int64_t timestep_guidance_channels = 256;
  double mlp_ratio = 3.0;
  std::vector<int64_t> axes_dims_rope = {32, 32, 32, 32};
  double rope_theta = 2000;
  double eps = 1e-6;
  bool guidance_embeds = true;

  // Class defaults for absent keys. Throws Error{kFormat, kUnsupported} for values that contradict each other.
  static Flux2TransformerConfig From(const Config& config);
  int64_t inner_dim() const noexcept { return attention_head_dim * num_attention_heads; }
  int64_t mlp_dim() const noexcept { return static_cast<int64_t>(static_cast<double>(inner_dim()) * mlp_ratio); }
};

struct Flux2Sequence {
  int64_t text_tokens = 0, image_tokens = 0;  // image: noise rows and reference rows
  DType compute = DType::kF32;
  int64_t grid_height = 0, grid_width = 0;  // of the noise rows: the video grid of the attention problem
};

// What every attention call of one sequence asks, and where call `layer` sits (double blocks first, then single ones).
AttentionProblem Flux2Problem(const Flux2TransformerConfig& config, const Flux2Sequence& sequence) noexcept;
AttentionSite Flux2Site(int64_t layer);
std::vector<SiteProblem> Flux2Sites(const Flux2TransformerConfig& config, const Flux2Sequence& sequence);
Cost Flux2Cost(const Flux2TransformerConfig& config, const Flux2Sequence& sequence);

struct Flux2Input {
  Tensor hidden_states;          // [image_tokens, in_channels] f32 or bf16
  Tensor encoder_hidden_states;  // [text_tokens, joint_attention_dim] of the compute type
  float timestep = 0;  // 0..1 (timestep / 1000 in f32); the originals' roundings on the way are repeated inside
  std::optional<float> guidance;        // with guidance_embeds
  const RotaryTable* rotary = nullptr;  // text rows first, then image rows
};

class Flux2Transformer {
 public:
  // Takes every tensor of the component; throws Error{kFormat} otherwise.
  Flux2Transformer(const Flux2TransformerConfig& config, WeightMap weights, DType compute);
  ~Flux2Transformer();

  // prediction [image_tokens, out_channels] f32, contiguous, reference rows included. `sequence` must have been
  // prepared (Flux2Sites).
  void Forward(const Flux2Input& input, const Flux2Sequence& sequence, ForwardContext& context,
               Tensor& prediction) const noexcept;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace tessera
