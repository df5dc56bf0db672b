#include "tensor/tensor.h"

#include <array>
#include <cstring>
#include <span>
#include <vector>

#include "parallel/parallel_for.h"
#include "tensor/storage.h"

namespace tessera {
namespace {

Shape ContiguousStrides(const Shape& shape) {
  Shape strides = shape;
  int64_t step = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[axis] = step;
    step *= shape[axis];
  }
  return strides;
}

float LoadAsFloat(const void* from, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::kF64:
      return static_cast<float>(static_cast<const double*>(from)[i]);
    case DType::kF32:
      return static_cast<const float*>(from)[i];
    case DType::kBF16:
      return ToFloat(static_cast<const BFloat16*>(from)[i]);
    case DType::kF16:
      return ToFloat(static_cast<const Float16*>(from)[i]);
    case DType::kI64:
      return static_cast<float>(static_cast<const int64_t*>(from)[i]);
    case DType::kI32:
      return static_cast<float>(static_cast<const int32_t*>(from)[i]);
    case DType::kI16:
      return static_cast<const int16_t*>(from)[i];
    case DType::kI8:
      return static_cast<const int8_t*>(from)[i];
    case DType::kU8:
    case DType::kBool:
      return static_cast<const uint8_t*>(from)[i];
    case DType::kF8E4M3:
    case DType::kF8E5M2:
      break;
  }
  TESSERA_CHECK(!"convertible dtype");
  return 0;
}

void ConvertRange(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float value = LoadAsFloat(from, from_dtype, i);
    switch (to_dtype) {
      case DType::kF32:
        static_cast<float*>(to)[i] = value;
        break;
      case DType::kBF16:
        static_cast<BFloat16*>(to)[i] = ToBFloat16(value);
        break;
      case DType::kF16:
        static_cast<Float16*>(to)[i] = ToFloat16(value);
        break;
      default:
        TESSERA_CHECK(!"float target");
    }
  }
}

// The two conversions that matter for speed, as loops the compiler turns into vector code.
void WidenRange(const BFloat16* from, float* to, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) to[i] = ToFloat(from[i]);
}

void NarrowRange(const float* from, BFloat16* to, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) to[i] = ToBFloat16(from[i]);
}

void CopyRows(const Tensor& from, int axis, std::byte*& to, int64_t offset) {
  const size_t size = SizeOf(from.dtype());
  if (axis == from.rank()) {
    std::memcpy(to, static_cast<const std::byte*>(from.raw()) + static_cast<size_t>(offset) * size, size);
    to += size;
    return;
  }
  if (axis == from.rank() - 1 && from.stride(axis) == 1) {
    const size_t bytes = static_cast<size_t>(from.dim(axis)) * size;
    std::memcpy(to, static_cast<const std::byte*>(from.raw()) + static_cast<size_t>(offset) * size, bytes);
    to += bytes;
    return;
  }
  for (int64_t i = 0; i < from.dim(axis); ++i) CopyRows(from, axis + 1, to, offset + i * from.stride(axis));
}

}  // namespace

Tensor Tensor::Empty(const Shape& shape, DType dtype) {
  const auto storage = AllocateAligned(static_cast<size_t>(shape.numel()) * SizeOf(dtype));
  return Borrow(storage.get(), shape, dtype, storage);
}

Tensor Tensor::Zeros(const Shape& shape, DType dtype) {
  Tensor tensor = Empty(shape, dtype);
  std::memset(tensor.mutable_raw(), 0, tensor.bytes());
  return tensor;
}

Tensor Tensor::Borrow(void* elements, const Shape& shape, DType dtype, std::shared_ptr<const void> owner) {
  Tensor tensor;
  tensor.elements_ = elements;
  tensor.owner_ = std::move(owner);
  tensor.shape_ = shape;
  tensor.strides_ = ContiguousStrides(shape);
  tensor.dtype_ = dtype;
  return tensor;
}

Tensor Tensor::BorrowConst(const void* elements, const Shape& shape, DType dtype, std::shared_ptr<const void> owner) {
  Tensor tensor = Borrow(const_cast<void*>(elements), shape, dtype, std::move(owner));
  tensor.writable_ = false;
  return tensor;
}

bool Tensor::contiguous() const noexcept {
  const Shape expected = ContiguousStrides(shape_);
  for (int axis = 0; axis < rank(); ++axis) {
    if (shape_[axis] != 1 && strides_[axis] != expected[axis]) return false;
  }
  return true;
}

Tensor Tensor::Reshape(const Shape& shape) const {
  TESSERA_CHECK(contiguous() && shape.numel() == numel());
  Tensor view = *this;
  view.shape_ = shape;
  view.strides_ = ContiguousStrides(shape);
  return view;
}

Tensor Tensor::Narrow(int axis, int64_t start, int64_t length) const {
  TESSERA_CHECK(axis >= 0 && axis < rank() && start >= 0 && length >= 0 && start + length <= dim(axis));
  Tensor view = *this;
  view.elements_ = static_cast<std::byte*>(elements_) + static_cast<size_t>(start * strides_[axis]) * SizeOf(dtype_);
  view.shape_[axis] = length;
  return view;
}

Tensor Tensor::Permute(std::initializer_list<int> axes) const {
  TESSERA_CHECK(static_cast<int>(axes.size()) == rank());
  Tensor view = *this;
  int to = 0;
  for (const int axis : axes) {
    view.shape_[to] = shape_[axis];
    view.strides_[to] = strides_[axis];
    ++to;
  }
  return view;
}

Tensor Tensor::SplitAxis(int axis, int64_t inner) const {
  TESSERA_CHECK(axis >= 0 && axis < rank() && rank() < Shape::kMaxRank && inner > 0 && dim(axis) % inner == 0);
  std::array<int64_t, Shape::kMaxRank> sizes{}, strides{};
  for (int from = 0, to = 0; from < rank(); ++from, ++to) {
    const auto at = static_cast<size_t>(to);
    sizes[at] = shape_[from];
    strides[at] = strides_[from];
    if (from != axis) continue;
    sizes[at] = shape_[from] / inner;
    strides[at] = strides_[from] * inner;
    sizes[at + 1] = inner;
    strides[at + 1] = strides_[from];
    ++to;
  }
  const auto new_rank = static_cast<size_t>(rank() + 1);
  Tensor view = *this;
  view.shape_ = Shape(std::span<const int64_t>(sizes.data(), new_rank));
  view.strides_ = Shape(std::span<const int64_t>(strides.data(), new_rank));
  return view;
}

Tensor Tensor::Clone() const {
  Tensor copy = Empty(shape_, dtype_);
  auto* to = static_cast<std::byte*>(copy.mutable_raw());
  if (numel() > 0) CopyRows(*this, 0, to, 0);
  return copy;
}

Tensor Tensor::To(DType dtype) const {
  if (dtype == dtype_) return Clone();
  const Tensor from = contiguous() ? *this : Clone();
  Tensor result = Empty(shape_, dtype);
  ConvertElements(from.raw(), dtype_, result.mutable_raw(), dtype, numel());
  return result;
}

void ConvertElements(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t count) noexcept {
  ParallelFor(count, 1 << 14, [&](int64_t begin, int64_t end) {
    if (from_dtype == to_dtype) {
      const size_t size = SizeOf(from_dtype);
      std::memcpy(static_cast<std::byte*>(to) + static_cast<size_t>(begin) * size,
                  static_cast<const std::byte*>(from) + static_cast<size_t>(begin) * size,
                  static_cast<size_t>(end - begin) * size);
    } else if (from_dtype == DType::kBF16 && to_dtype == DType::kF32) {
      WidenRange(static_cast<const BFloat16*>(from), static_cast<float*>(to), begin, end);
    } else if (from_dtype == DType::kF32 && to_dtype == DType::kBF16) {
      NarrowRange(static_cast<const float*>(from), static_cast<BFloat16*>(to), begin, end);
    } else {
      ConvertRange(from, from_dtype, to, to_dtype, begin, end);
    }
  });
}

}  // namespace tessera
