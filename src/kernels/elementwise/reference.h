// The same operations as elementwise.h as plain loops with double sums: what tests compare with.
#pragma once
#include "kernels/elementwise/elementwise.h"

namespace tessera::reference {

void LayerNormModulate(const Tensor& src, const Tensor& scale, const Tensor& shift, float eps, Tensor& dst) noexcept;
void RmsNorm(const Tensor& src, const Tensor& weight, float eps, Tensor& dst) noexcept;
void ApplyQkNormRotary(QkNormRotary& operands) noexcept;
void AddGated(Tensor& residual, const Tensor& update, const Tensor& gate) noexcept;
void SwiGlu(const Tensor& src, Tensor& dst) noexcept;
void SiluMultiply(const Tensor& gate, const Tensor& up, Tensor& dst) noexcept;
void Silu(const Tensor& src, Tensor& dst) noexcept;
void GeluTanh(const Tensor& src, Tensor& dst) noexcept;
void GeluTanhMultiply(const Tensor& gate, const Tensor& up, Tensor& dst) noexcept;
void GeluErf(const Tensor& src, Tensor& dst) noexcept;
void GroupNorm(const Tensor& src, const Tensor& weight, const Tensor& bias, const GroupNormShape& shape,
               Tensor& dst) noexcept;
void UpsampleNearest2x(const Tensor& src, Tensor& dst) noexcept;
void Add(const Tensor& a, const Tensor& b, Tensor& dst) noexcept;

}  // namespace tessera::reference
