#include "kernels/elementwise/elementwise.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/elementwise/row_kernels.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr int64_t kElementsPerPart = 1 << 14;  // below this a second thread costs more than it saves

Element TypeOf(const Tensor& tensor) noexcept {
  TESSERA_CHECK(tensor.dtype() == DType::kF32 || tensor.dtype() == DType::kBF16);
  return tensor.dtype() == DType::kF32 ? Element::kF32 : Element::kBF16;
}

int64_t Channels(const Tensor& tensor) noexcept { return tensor.dim(tensor.rank() - 1); }
int64_t RowCount(const Tensor& tensor) noexcept {
  return Channels(tensor) == 0 ? 0 : tensor.numel() / Channels(tensor);
}

// Rows over the last axis: any rank when contiguous, a row stride when of rank 2.
int64_t RowStride(const Tensor& tensor) noexcept {
  if (tensor.contiguous()) return Channels(tensor);
  TESSERA_CHECK(tensor.rank() == 2 && tensor.stride(1) == 1);
  return tensor.stride(0);
}
SourceRows Source(const Tensor& tensor) noexcept { return {tensor.raw(), RowStride(tensor), TypeOf(tensor)}; }
TargetRows Target(Tensor& tensor) noexcept { return {tensor.mutable_raw(), RowStride(tensor), TypeOf(tensor)}; }

const float* Vector(const Tensor& tensor, int64_t count) noexcept {
  TESSERA_CHECK(tensor.numel() == count && tensor.contiguous());
  return tensor.data<float>();
}
const float* VectorOrNull(const Tensor& tensor, int64_t count) noexcept {
  return tensor.defined() ? Vector(tensor, count) : nullptr;
}

int64_t RowsPerPart(int64_t channels) noexcept {
  return std::max<int64_t>(1, kElementsPerPart / std::max<int64_t>(1, channels));
}

template <class Rows>
void ForRows(int64_t rows, int64_t channels, void (*kernel)(const Rows&, int64_t, int64_t), const Rows& operands) {
  ParallelFor(rows, RowsPerPart(channels), [&](int64_t begin, int64_t end) { kernel(operands, begin, end); });
}

BinaryRows Flat(const Tensor& a, const Tensor& b, Tensor& dst) noexcept {
  TESSERA_CHECK(a.numel() == dst.numel() && b.numel() == dst.numel());
  return {Source(a), Source(b), Target(dst), Channels(dst), nullptr};
}

}  // namespace

void LayerNormModulate(const Tensor& src, const Tensor& scale, const Tensor& shift, float eps, Tensor& dst) noexcept {
  const int64_t channels = Channels(src);
  TESSERA_CHECK(src.numel() == dst.numel() && Channels(dst) == channels);
  const NormRows rows{Source(src), Target(dst), channels, Vector(scale, channels), Vector(shift, channels), eps};
  ForRows(RowCount(src), channels, ActiveRowKernels().layer_norm, rows);
}

void RmsNorm(const Tensor& src, const Tensor& weight, float eps, Tensor& dst) noexcept {
  const int64_t channels = Channels(src);
  TESSERA_CHECK(src.numel() == dst.numel() && Channels(dst) == channels);
  const NormRows rows{Source(src), Target(dst), channels, Vector(weight, channels), nullptr, eps};
  ForRows(RowCount(src), channels, ActiveRowKernels().rms_norm, rows);
}

void ApplyQkNormRotary(QkNormRotary& operands) noexcept {
  Tensor& x = operands.x;
  TESSERA_CHECK(x.rank() == 3);
  const int64_t tokens = x.dim(0), heads = x.dim(1), head_dim = x.dim(2);
  TESSERA_CHECK(x.stride(2) == 1 && (heads == 1 || x.stride(1) == head_dim));
  TESSERA_CHECK(head_dim % 2 == 0 && head_dim <= kMaxHeadDim);
  RotaryRows rows;
  rows.x = {x.mutable_raw(), x.stride(0), TypeOf(x)};
  rows.heads = heads;
  rows.head_dim = head_dim;
  rows.weight = VectorOrNull(operands.weight, head_dim);
  rows.cos = VectorOrNull(operands.cos, tokens * head_dim / 2);
  rows.sin = VectorOrNull(operands.sin, tokens * head_dim / 2);
  TESSERA_CHECK((rows.cos == nullptr) == (rows.sin == nullptr));
  rows.eps = operands.eps;
  rows.half_split = operands.kind == RotaryKind::kHalfSplit;
  ForRows(tokens, heads * head_dim, ActiveRowKernels().qk_norm_rotary, rows);
}

void AddGated(Tensor& residual, const Tensor& update, const Tensor& gate) noexcept {
  BinaryRows rows = Flat(residual, update, residual);
  rows.gate = VectorOrNull(gate, rows.channels);
  ForRows(RowCount(residual), rows.channels, ActiveRowKernels().add, rows);
}

void SwiGlu(const Tensor& src, Tensor& dst) noexcept {
  const int64_t channels = Channels(dst);
  TESSERA_CHECK(Channels(src) == 2 * channels && src.numel() == 2 * dst.numel());
  const SourceRows gate = Source(src);
  SourceRows up = gate;
  up.elements = static_cast<const char*>(gate.elements) + static_cast<size_t>(channels) * SizeOf(src.dtype());
  const BinaryRows rows{gate, up, Target(dst), channels, nullptr};
  ForRows(RowCount(dst), channels, ActiveRowKernels().silu_multiply, rows);
}

void SiluMultiply(const Tensor& gate, const Tensor& up, Tensor& dst) noexcept {
  const BinaryRows rows = Flat(gate, up, dst);
  ForRows(RowCount(dst), rows.channels, ActiveRowKernels().silu_multiply, rows);
}

void Silu(const Tensor& src, Tensor& dst) noexcept {
  const BinaryRows rows = Flat(src, src, dst);
  ForRows(RowCount(dst), rows.channels, ActiveRowKernels().silu, rows);
}

void GeluTanh(const Tensor& src, Tensor& dst) noexcept {
  const BinaryRows rows = Flat(src, src, dst);
  ForRows(RowCount(dst), rows.channels, ActiveRowKernels().gelu, rows);
}

void GeluTanhMultiply(const Tensor& gate, const Tensor& up, Tensor& dst) noexcept {
  const BinaryRows rows = Flat(gate, up, dst);
  ForRows(RowCount(dst), rows.channels, ActiveRowKernels().gelu_multiply, rows);
}

namespace {
template <class T>
void GeluErfElements(const T* src, T* dst, int64_t count) {
  ParallelFor(count, kElementsPerPart, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float x = ToFloat(src[i]);
      Store(0.5f * x * (1.0f + std::erf(x * 0.70710678118654752f)), dst + i);
    }
  });
}
}  // namespace

void GeluErf(const Tensor& src, Tensor& dst) noexcept {
  TESSERA_CHECK(src.numel() == dst.numel() && src.dtype() == dst.dtype() && src.contiguous() && dst.contiguous());
  if (TypeOf(src) == Element::kF32) {
    GeluErfElements(src.data<float>(), dst.mutable_data<float>(), src.numel());
  } else {
    GeluErfElements(src.data<BFloat16>(), dst.mutable_data<BFloat16>(), src.numel());
  }
}

void Add(const Tensor& a, const Tensor& b, Tensor& dst) noexcept {
  const BinaryRows rows = Flat(a, b, dst);
  ForRows(RowCount(dst), rows.channels, ActiveRowKernels().add, rows);
}

void UpsampleNearest2x(const Tensor& src, Tensor& dst) noexcept {
  TESSERA_CHECK(src.rank() == 4 && src.contiguous() && dst.contiguous() && src.dtype() == dst.dtype());
  const int64_t width = src.dim(2);
  TESSERA_CHECK(dst.shape() == Shape({src.dim(0), 2 * src.dim(1), 2 * width, src.dim(3)}));
  const size_t pixel = static_cast<size_t>(src.dim(3)) * SizeOf(src.dtype());
  const size_t row = static_cast<size_t>(width) * pixel;
  const auto* from = static_cast<const char*>(src.raw());
  auto* to = static_cast<char*>(dst.mutable_raw());
  ParallelFor(src.dim(0) * src.dim(1), RowsPerPart(width * src.dim(3)), [&](int64_t begin, int64_t end) {
    for (auto y = static_cast<size_t>(begin); y < static_cast<size_t>(end); ++y) {
      char* target = to + 4 * y * row;
      for (size_t offset = 0; offset < row; offset += pixel) {
        std::memcpy(target + 2 * offset, from + y * row + offset, pixel);
        std::memcpy(target + 2 * offset + pixel, from + y * row + offset, pixel);
      }
      std::memcpy(target + 2 * row, target, 2 * row);
    }
  });
}

}  // namespace tessera
