// What one attention call needs. Everything selection may depend on is here: comparable and printable.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tensor/dtype.h"

namespace tessera {

// Features of a mask; a problem may combine them ("causal+lens").
enum MaskFeature : uint32_t {
  kMaskNone = 0,
  kMaskCausal = 1u << 0,         // bottom-right: key j visible to query i iff j <= i + kv_len - q_len
  kMaskCausalTopLeft = 1u << 1,  // j <= i
  kMaskKeyLengths = 1u << 2,     // per batch entry, keys from its length on are hidden
  kMaskVarlen = 1u << 3,         // packed sequences: cu_seqlens for queries and keys, batch is 1
  kMaskBias = 1u << 4,           // additive f32, bf16 or f16 bias, or a boolean mask (true = visible)
};
using MaskFeatures = uint32_t;

enum class AttentionRole { kSelf, kCross, kJoint, kEncoder, kVae };
std::string_view Name(AttentionRole role) noexcept;  // "self", "cross", "joint", "encoder", "vae"

// Video tokens lie in (t, h, w) order after `prefix` text tokens and before `suffix` text tokens. A picture has t = 1.
struct VideoGrid {
  int64_t t = 0, h = 0, w = 0;
  int64_t prefix = 0, suffix = 0;
  bool operator==(const VideoGrid&) const = default;
};

struct AttentionProblem {
  DType dtype = DType::kF32;
  int64_t batch = 1;
  int heads = 1;
  int kv_heads = 1;  // divides heads; query head h reads kv head h / (heads / kv_heads)
  int head_dim = 64;
  int64_t q_len = 0;  // with kMaskVarlen: the total over all sequences
  int64_t kv_len = 0;
  MaskFeatures mask = kMaskNone;
  std::optional<float> scale = std::nullopt;  // absent: 1 / sqrt(head_dim)
  bool needs_lse = false;
  bool has_gate = false;  // the checkpoint brings the gate of video sparse attention
  AttentionRole role = AttentionRole::kSelf;
  std::optional<VideoGrid> grid = std::nullopt;
  int step = -1, layer = -1;  // -1: any

  float softmax_scale() const noexcept;  // `scale`, or 1 / sqrt(head_dim)
  double flops() const noexcept;         // 4 * batch * heads * q_len * kv_len * head_dim, halved for square causal
  bool operator==(const AttentionProblem&) const = default;
};

// What is wrong with a problem that no backend could serve ("kv_heads does not divide heads"); "" when consistent.
std::string_view Defect(const AttentionProblem& problem) noexcept;

// "none", "causal", "causal+lens", ...
std::string PrintMask(MaskFeatures mask);

// One line, parse = print: "bf16 b1 h24/24 d128 q4608 kv4608 mask=none lse role=joint grid=1x32x32+512+0".
// Words in any order; masks none|causal|causal_tl|lens|varlen|bias joined by '+'; scale=F; grid=TxHxW[+PREFIX[+SUFFIX]]
// (or prefix=N suffix=N as words of their own); step=N layer=N gate. What has its default value is not printed.
// Throws Error{kUsage} naming the word that is wrong.
std::string Print(const AttentionProblem& problem);
AttentionProblem ParseAttentionProblem(std::string_view line);

}  // namespace tessera
