// A strided view of elements that keeps its storage alive: copies share the elements.
#pragma once
#include <memory>

#include "base/check.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace tessera {

template <class T>
constexpr bool HoldsType(DType dtype) noexcept {
  if constexpr (std::is_same_v<T, float>) return dtype == DType::kF32;
  if constexpr (std::is_same_v<T, double>) return dtype == DType::kF64;
  if constexpr (std::is_same_v<T, BFloat16>) return dtype == DType::kBF16;
  if constexpr (std::is_same_v<T, Float16>) return dtype == DType::kF16;
  if constexpr (std::is_same_v<T, int64_t>) return dtype == DType::kI64;
  if constexpr (std::is_same_v<T, int32_t>) return dtype == DType::kI32;
  if constexpr (std::is_same_v<T, int8_t>) return dtype == DType::kI8;
  if constexpr (std::is_same_v<T, uint8_t>) return dtype == DType::kU8 || dtype == DType::kBool;
  return false;
}

// Shapes and layouts are the owner's business; a tensor only knows sizes and strides (in elements).
// A tensor over a mapped file is read-only: mutable_data() on it is a bug.
class Tensor {
 public:
  Tensor() = default;

  // 64-byte aligned, not initialised / zero. Throws Error{kMemory}.
  static Tensor Empty(const Shape& shape, DType dtype);
  static Tensor Zeros(const Shape& shape, DType dtype);
  // Elements that somebody else keeps alive as long as `owner` lives (may be null: a workspace's memory).
  static Tensor Borrow(void* elements, const Shape& shape, DType dtype, std::shared_ptr<const void> owner = nullptr);
  static Tensor BorrowConst(const void* elements, const Shape& shape, DType dtype, std::shared_ptr<const void> owner);

  bool defined() const noexcept { return elements_ != nullptr; }
  DType dtype() const noexcept { return dtype_; }
  const Shape& shape() const noexcept { return shape_; }
  int rank() const noexcept { return shape_.rank(); }
  int64_t dim(int axis) const noexcept { return shape_[axis]; }  // axis >= 0
  int64_t stride(int axis) const noexcept { return strides_[axis]; }
  int64_t numel() const noexcept { return shape_.numel(); }
  size_t bytes() const noexcept { return static_cast<size_t>(numel()) * SizeOf(dtype_); }
  bool contiguous() const noexcept;

  const void* raw() const noexcept { return elements_; }
  void* mutable_raw() noexcept {
    TESSERA_CHECK(writable_);
    return elements_;
  }
  template <class T>
  const T* data() const noexcept {
    TESSERA_CHECK(HoldsType<T>(dtype_));
    return static_cast<const T*>(elements_);
  }
  template <class T>
  T* mutable_data() noexcept {
    TESSERA_CHECK(HoldsType<T>(dtype_) && writable_);
    return static_cast<T*>(elements_);
  }

  // Views; they share the elements. Reshape needs a contiguous tensor.
  Tensor Reshape(const Shape& shape) const;
  Tensor Narrow(int axis, int64_t start, int64_t length) const;
  Tensor Permute(std::initializer_list<int> axes) const;
  Tensor SplitAxis(int axis, int64_t inner) const;  // [.., n, ..] -> [.., n / inner, inner, ..], any strides

  // New contiguous tensors. To() converts between the float types (and integers to float) with round to nearest even.
  Tensor Clone() const;
  Tensor To(DType dtype) const;

 private:
  void* elements_ = nullptr;
  std::shared_ptr<const void> owner_;  // shared by all views of the same elements
  Shape shape_;
  Shape strides_;
  DType dtype_ = DType::kF32;
  bool writable_ = true;
};

// Contiguous conversion of `count` elements between float types; both sides 1-D. Uses all threads.
void ConvertElements(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t count) noexcept;

}  // namespace tessera
