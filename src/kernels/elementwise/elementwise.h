// Memory-bound kernels between the products: norms, modulation, rotation, activations. f32 arithmetic; every tensor is
// contiguous f32 or bf16 (f16 where said) and rows are independent, so any split over threads gives the same bytes.
#pragma once
#include <cstdint>

#include "tensor/tensor.h"

namespace tessera {

// dst = LayerNorm(src) * (1 + scale) + shift; no affine. src, dst [rows, channels]; scale, shift [channels] f32.
void LayerNormModulate(const Tensor& src, const Tensor& scale, const Tensor& shift, float eps, Tensor& dst) noexcept;

// dst = src * rsqrt(mean(src^2) + eps) * weight. src, dst [rows, channels]; weight [channels] f32.
// When dst is bf16 the normalised value is rounded to bf16 before the weight is applied, as the originals do.
void RmsNorm(const Tensor& src, const Tensor& weight, float eps, Tensor& dst) noexcept;

// Per-head RMSNorm of q or k and rotation, in place: x [rows, heads, head_dim] with a row stride (elements), weight
// [head_dim] f32 (undefined: no norm), cos and sin [rows, head_dim / 2] f32 (undefined: no rotation).
enum class RotaryKind { kInterleaved /* pairs (2i, 2i+1) */, kHalfSplit /* pairs (i, i + D/2) */ };
struct QkNormRotary {
  Tensor x;       // [rows, heads, head_dim], last two axes contiguous
  Tensor weight;  // [head_dim]
  Tensor cos, sin;
  float eps = 1e-6f;
  RotaryKind kind = RotaryKind::kInterleaved;
};
void ApplyQkNormRotary(QkNormRotary& operands) noexcept;

// residual += gate * update; residual, update [rows, channels]; gate [channels] f32 (undefined: 1).
void AddGated(Tensor& residual, const Tensor& update, const Tensor& gate) noexcept;

// dst = SiLU(src[:, :n]) * src[:, n:]; src [rows, 2n] (row stride allowed), dst [rows, n] (row stride allowed).
void SwiGlu(const Tensor& src, Tensor& dst) noexcept;
// The same with the two halves in two tensors.
void SiluMultiply(const Tensor& gate, const Tensor& up, Tensor& dst) noexcept;

void Silu(const Tensor& src, Tensor& dst) noexcept;

// dst = GELU(src) with the tanh approximation (Hendrycks and Gimpel, arXiv 1606.08415); may be in place.
void GeluTanh(const Tensor& src, Tensor& dst) noexcept;
// dst = GeluTanh(gate) * up.
void GeluTanhMultiply(const Tensor& gate, const Tensor& up, Tensor& dst) noexcept;
// dst = GELU(src) by the error function; may be in place. Not vectorised: for small tensors.
void GeluErf(const Tensor& src, Tensor& dst) noexcept;

// GroupNorm over channels-last x [n, h, w, channels], then SiLU when asked. weight, bias [channels] f32.
enum class Activation { kNone, kSilu };
struct GroupNormShape {
  int64_t groups = 32;
  float eps = 1e-6f;
  Activation activation = Activation::kNone;
};
void GroupNorm(const Tensor& src, const Tensor& weight, const Tensor& bias, const GroupNormShape& shape,
               Tensor& dst) noexcept;

// Nearest neighbour, twice as high and wide: [n, h, w, c] -> [n, 2h, 2w, c].
void UpsampleNearest2x(const Tensor& src, Tensor& dst) noexcept;

// dst = a + b, all the same shape.
void Add(const Tensor& a, const Tensor& b, Tensor& dst) noexcept;

}  // namespace tessera
