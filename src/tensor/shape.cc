#include "tensor/shape.h"

#include <algorithm>

#include "base/check.h"

namespace tessera {

Shape::Shape(std::initializer_list<int64_t> sizes) : Shape(std::span<const int64_t>(sizes.begin(), sizes.size())) {}

Shape::Shape(std::span<const int64_t> sizes) : rank_(static_cast<int>(sizes.size())) {
  TESSERA_CHECK(sizes.size() <= kMaxRank);
  std::copy(sizes.begin(), sizes.end(), sizes_.begin());
}

int64_t Shape::numel() const noexcept {
  int64_t product = 1;
  for (const int64_t size : sizes()) product *= size;
  return product;
}

bool Shape::operator==(const Shape& other) const noexcept { return std::ranges::equal(sizes(), other.sizes()); }

std::string Shape::ToString() const {
  std::string text = "[";
  for (int axis = 0; axis < rank_; ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(sizes_[static_cast<size_t>(axis)]);
  }
  return text + "]";
}

}  // namespace tessera
