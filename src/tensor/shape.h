// Sizes of a tensor, outermost first.
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace tessera {

class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes);
  explicit Shape(std::span<const int64_t> sizes);

  int rank() const noexcept { return rank_; }
  int64_t operator[](int axis) const noexcept { return sizes_[static_cast<size_t>(axis)]; }
  int64_t& operator[](int axis) noexcept { return sizes_[static_cast<size_t>(axis)]; }
  int64_t numel() const noexcept;  // 1 for rank 0
  std::span<const int64_t> sizes() const noexcept { return {sizes_.data(), static_cast<size_t>(rank_)}; }
  bool operator==(const Shape& other) const noexcept;
  std::string ToString() const;  // "[2, 3, 4]"

 private:
  std::array<int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
};

}  // namespace tessera
